"""The page's server: uploads, jobs, rows, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("soundfile")

from fastapi.testclient import TestClient

from vqlink.demo.app import PAGE, Limits, create_app
from vqlink.demo.inputs import MAX_SIDE
from vqlink.evaluation.rows import read_rows
from vqlink.sources.audio import encode_wav
from vqlink.sources.voice import synthetic_voice


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(limits=Limits(upload_bytes=400_000))
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def png(width: int, height: int) -> bytes:
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    return buffer.getvalue()


def take(client: TestClient, data: bytes, kind: str = "picture") -> dict[str, Any]:
    answer = client.post(f"/api/uploads?kind={kind}&name=mine", content=data)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def run(client: TestClient, path: str, body: dict[str, Any]) -> tuple[str, list[tuple[str, Any]]]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    token = answer.json()["job"]
    events, kind = [], ""
    with client.stream("GET", f"/api/jobs/{token}/events") as stream:
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                events.append((kind, json.loads(value)))
    return token, events


def test_a_picture_arrives_and_its_rows_can_be_kept(client: TestClient, tmp_path: Path) -> None:
    upload = take(client, png(64, 48))["upload"]
    token, events = run(client, "/api/pictures", {"upload": upload, "snr_db": 20.0})
    arrivals = [data for kind, data in events if kind == "arrival"]
    assert [a["role"] for a in arrivals] == ["learned", "learned", "fixed"]
    assert len({a["uses"] for a in arrivals}) == 1
    assert all(0.89 < a["power"] < 1.12 for a in arrivals)
    assert events[-1][0] == "done"
    shown = client.get(f"/api/jobs/{token}/files/{arrivals[0]['picture']}")
    assert shown.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(shown.content)).size == (64, 48)
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(client.get(f"/api/jobs/{token}/rows.jsonl").content)
    assert {row.system for row in read_rows(rows)} == {a["system"] for a in arrivals}
    first = next(row for row in read_rows(rows) if row.metric == "psnr")
    assert first.value == arrivals[0]["metrics"]["psnr"]


def test_the_digital_link_keeps_the_scheme_that_it_was_designed_with(client: TestClient) -> None:
    """Below its design SNR it is lost, where one that follows the channel arrives."""
    upload = take(client, png(96, 96))["upload"]

    def link(designed_db: float) -> dict[str, Any]:
        body = {"upload": upload, "snr_db": 2.0, "designed_db": designed_db}
        _, events = run(client, "/api/pictures", body)
        return dict(next(d for k, d in events if k == "arrival" and d["role"] == "fixed"))

    assert link(2.0)["status"] == "ok"
    designed_high = link(16.0)
    assert designed_high["status"] == "outage"
    assert designed_high["system"] != link(2.0)["system"]


def test_a_text_is_read(client: TestClient) -> None:
    body = {"text": "A dog runs. Two men sit.", "probability": 0.0}
    _, events = run(client, "/api/texts", body)
    assert events[0] == ("about", {"sentences": ["A dog runs.", "Two men sit."]})
    arrivals = [data for kind, data in events if kind == "arrival"]
    assert len(arrivals) == 3
    assert all(a["read"] == ["A dog runs.", "Two men sit."] for a in arrivals)


def test_a_recording_arrives(client: TestClient) -> None:
    upload = take(client, encode_wav(synthetic_voice(1.2)), "recording")["upload"]
    token, events = run(client, "/api/recordings", {"upload": upload, "snr_db": 15.0})
    arrivals = [data for kind, data in events if kind == "arrival"]
    assert arrivals[-1]["system"].startswith("speech+ldpc5g@")
    sound = client.get(f"/api/jobs/{token}/files/{arrivals[0]['sound']}")
    assert sound.content[:4] == b"RIFF"
    assert client.get(f"/api/jobs/{token}/files/sent.png").status_code == 200


def test_a_curve_has_every_point(client: TestClient) -> None:
    upload = take(client, png(48, 48))["upload"]
    _, events = run(client, "/api/pictures/curve", {"upload": upload})
    points = [data for kind, data in events if kind == "point"]
    assert {p["role"] for p in points} == {"learned", "fixed", "best"}
    assert sorted({p["at"] for p in points}) == [float(x) for x in range(0, 21, 2)]
    assert len(points) == 4 * 11


def test_large_pictures_are_scaled_and_that_is_said(client: TestClient) -> None:
    told = take(client, png(3000, 150))
    assert told["notes"] == [f"3000 x 150 scaled to {MAX_SIDE} x 26"]
    shown = client.get(told["media"])
    assert Image.open(io.BytesIO(shown.content)).size == (MAX_SIDE, 26)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/pictures", {"upload": "x" * 22}, 400, "no longer here"),
        ("/api/pictures", {"upload": "x" * 65}, 422, "upload"),
        ("/api/pictures", {"upload": "x", "snr_db": 1e9}, 422, "snr_db"),
        ("/api/pictures", {"upload": "x", "snr_db": "nan"}, 422, "snr_db"),
        ("/api/pictures", {"upload": "x", "channel": "tin can"}, 422, "channel"),
        ("/api/pictures", {"upload": "x", "rho": "1/7"}, 422, "rho"),
        ("/api/pictures", {"upload": "x", "system": "/etc/passwd"}, 422, "system"),
        ("/api/texts", {"text": "a" * 2001}, 422, "text"),
        ("/api/texts", {"text": "a", "probability": 2}, 422, "probability"),
        ("/api/samples/nobody", {}, 400, "no sample"),
        ("/api/uploads?kind=virus", {}, 422, "picture or recording"),
    ],
)  # fmt: skip
def test_bad_requests_get_one_line(
    client: TestClient, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("text", ["", "  \n "])
def test_an_empty_text_is_refused(client: TestClient, text: str) -> None:
    _, events = run(client, "/api/texts", {"text": text})
    assert events[-1][0] == "failed"
    assert "nothing to send" in events[-1][1]["error"]


@pytest.mark.parametrize("kind", ["picture", "recording"])
@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), b"RIFF" * 9])
def test_damaged_files_are_refused(client: TestClient, kind: str, data: bytes) -> None:
    answer = client.post(f"/api/uploads?kind={kind}", content=data)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_too_large_uploads_are_refused(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:  # without a content-length
        for _ in range(50):
            yield bytes(10_000)

    assert client.post("/api/uploads?kind=picture", content=bytes(400_001)).status_code == 413
    assert client.post("/api/uploads?kind=picture", content=chunks()).status_code == 413
    assert client.post("/api/texts", content=b"[" * 100_000).status_code == 413
    assert client.post("/api/texts", content=chunks()).status_code == 411


def test_only_this_machines_own_page_is_answered(client: TestClient) -> None:
    foreign = {"origin": "https://elsewhere.example"}
    assert client.post("/api/samples/cat", headers=foreign).status_code == 403
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    own = {"origin": "http://127.0.0.1"}
    assert client.post("/api/samples/cat", headers=own).status_code == 200


def test_nothing_is_served_but_the_pages_own_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for path in PAGE.iterdir():
        assert client.get(f"/page/{path.name}").status_code == 200
    for path in ("/page/app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/docs"):
        assert client.get(path).status_code == 404


def test_the_page_names_no_other_place() -> None:
    for path in PAGE.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def test_unknown_jobs_are_told_so(client: TestClient) -> None:
    for path in ("/api/jobs/x/events", "/api/jobs/x/rows.jsonl", "/api/jobs/x/files/0.png"):
        assert client.get(path).status_code == 404
    assert client.delete("/api/jobs/x").status_code == 404


def test_a_job_can_be_cancelled(client: TestClient) -> None:
    upload = take(client, png(64, 64))["upload"]
    token = client.post("/api/pictures/curve", json={"upload": upload}).json()["job"]
    assert client.delete(f"/api/jobs/{token}").status_code == 200
    with client.stream("GET", f"/api/jobs/{token}/events") as stream:
        kinds = [x.removeprefix("event: ") for x in stream.iter_lines() if x.startswith("event: ")]
    assert kinds[-1] == "cancelled"


def test_slow_uploads_end_and_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that send nothing: eight at once, 408 each, and no place is lost."""
    monkeypatch.setattr("vqlink.demo.app._UPLOAD_SECONDS", 0.2)
    app = create_app()

    async def upload(hang: bool) -> tuple[int, float]:
        chunks = iter([png(64, 48)])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if hang:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": next(chunks), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": "/api/uploads", "raw_path": b"/api/uploads", "query_string": b"kind=picture",
            "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "",
            "server": ("localhost", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        started = time.monotonic()
        await app(scope, receive, send)
        return sent[0]["status"], time.monotonic() - started

    async def all_of_them() -> list[tuple[int, float]]:
        slow = await asyncio.gather(*(upload(hang=True) for _ in range(9)))
        return [*slow, await upload(hang=False)]

    *slow, last = asyncio.run(all_of_them())
    assert {status for status, _ in slow} == {408}
    assert max(seconds for _, seconds in slow) > 0.35  # the ninth waited for a place
    assert last[0] == 200
