"""The page's server under 20 visitors at once, a part of whose uploads are bad."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

VISITORS, REQUESTS = 20, 10
GROWTH_BYTES = 400_000_000
"""Models of three kinds are opened meanwhile, about 200 MB."""


@pytest.fixture(name="server")
def fixture_server(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of a demo whose folder is empty."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vqlink.cli.main", "demo", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f":{port}/" in process.stdout.readline()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port, process.pid
        process.terminate()
        process.wait(20)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, data if method == "POST" else None,
                       {"Content-Type": "application/json"})  # fmt: skip
    try:
        answer = connection.getresponse()
        return answer.status, answer.read()
    except ConnectionError:  # the server closed a too large request before it was all sent
        return 413, b""
    finally:
        connection.close()


def send_text(port: int, number: int) -> str:
    body = {"text": f"Dog number {number} runs.", "probability": 0.1, "seed": number}
    status, answer = ask(port, "POST", "/api/texts", body)
    assert status == 200, answer
    _, events = ask(port, "GET", f"/api/jobs/{json.loads(answer)['job']}/events")
    assert events.count(b"event: arrival") == 3
    assert b"event: done" in events
    assert f"Dog number {number} runs.".encode() in events  # this visitor's, and no other's
    return "sent"


def visit(port: int, visitor: int) -> Counter[str]:
    done: Counter[str] = Counter()
    for turn in range(REQUESTS):
        match turn % 5:
            case 0:
                done[send_text(port, 100 * visitor + turn)] += 1
            case 1:
                done[f"{ask(port, 'POST', '/api/uploads?kind=picture', bytes(17_000_000))[0]}"] += 1
            case 2:
                done[f"{ask(port, 'POST', '/api/uploads?kind=picture', b'junk' * 500)[0]}"] += 1
            case 3:
                done[f"{ask(port, 'POST', '/api/texts', b'{')[0]}"] += 1
            case _:
                done[f"{ask(port, 'POST', '/api/samples/cat', {})[0]}"] += 1
    return done


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_no_visitor_is_lost_and_memory_is_bounded(server: tuple[int, int]) -> None:
    port, pid = server
    assert send_text(port, 1) == "sent"
    before = resident_bytes(pid)
    with ThreadPoolExecutor(VISITORS) as visitors:
        counts = sum(visitors.map(lambda v: visit(port, v), range(VISITORS)), Counter())
    each = VISITORS * REQUESTS // 5
    assert counts == {"sent": each, "413": each, "400": each, "422": each, "200": each}
    assert resident_bytes(pid) - before < GROWTH_BYTES
    assert send_text(port, 2) == "sent"
