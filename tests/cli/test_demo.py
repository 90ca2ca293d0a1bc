"""``vqlink demo``: its mistakes, and its page in a browser without a network."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vqlink.cli.main import run

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome")
                 if (found := shutil.which(name))), None)  # fmt: skip
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.mark.parametrize(
    ("host", "words"), [("no such host", "can't listen on"), ("192.0.2.1", "can't listen on")]
)
def test_an_address_that_is_not_here_is_told(
    host: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi")
    assert run(["demo", "--host", host]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fastapi")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["demo", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


@pytest.fixture(name="address")
def fixture_address() -> Iterator[str]:
    uvicorn = pytest.importorskip("uvicorn")
    from vqlink.demo.app import create_app

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.fixture(name="page")
def fixture_page(address: str) -> Iterator[Any]:
    """A page of headless Chromium. The test fails where it asks for anything from elsewhere."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    elsewhere: list[str] = []
    complaints: list[str] = []

    def check(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            elsewhere.append(request.url)

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        opened = browser.new_page()
        opened.set_default_timeout(60_000)
        opened.on("request", check)
        opened.on("console", lambda m: complaints.append(m.text) if is_complaint(m) else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(address)
        yield opened
        browser.close()
    assert elsewhere == []
    assert complaints == []


def is_complaint(message: Any) -> bool:
    """Whether a script or the content policy complains; a refused upload is none."""
    return message.type == "error" and "status of 400" not in message.text


def slide(page: Any, selector: str, value: float) -> None:
    page.eval_on_selector(
        selector,
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def figure(page: Any, key: str) -> float:
    text = page.inner_text(f"#picture .card[data-key='{key}'] .big")
    return float(text.removesuffix(" dB"))


def test_the_cliff_can_be_watched(page: Any) -> None:
    """A picture is there at once; below its design the digital link is lost, the code is not."""
    done = "#picture [data-bar] a"
    page.click("#picture >> text=cat")
    page.wait_for_selector(done)
    assert page.locator("#picture .card").count() == 4
    learned, digital = figure(page, "0"), figure(page, "2")
    slide(page, "#picture-snr", 4)
    page.wait_for_selector("#picture .card.stale")
    page.wait_for_selector(done)
    assert learned - figure(page, "0") < 6
    assert digital - figure(page, "2") > 8
    assert "Outage" in page.inner_text("#picture .card[data-key='2']")
    page.wait_for_selector("#picture [data-curve] circle")
    with page.expect_download() as download:
        page.click(done)
    assert '"metric": "psnr"' in download.value.path().read_text()


def test_words_and_sounds_arrive(page: Any) -> None:
    page.click("#tab-text")
    page.fill("#text textarea", "A woman rides a brown horse.")
    page.wait_for_selector("#text .read >> text=A woman rides a brown horse.")
    page.wait_for_selector("#text [data-bar] a")
    assert page.locator("#text .card").count() == 3
    page.press("#tab-text", "ArrowRight")  # as tabs are used from the keyboard
    page.wait_for_selector("#speech [data-bar] a")
    assert page.locator("#speech audio").count() == 4


def test_a_file_that_is_no_picture_is_told(page: Any) -> None:
    page.wait_for_selector("#picture [data-bar] a")
    bad = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#picture input[type=file]", bad)
    assert "notes.png" in page.inner_text("#picture [role=alert]")
