"""Pictures and pages: complete, self-contained, escaped, drawn from what was run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import smooth_picture
from vqlink.evaluation.rows import Row
from vqlink.evaluation.send import Arrival, SendResult
from vqlink.reporting.pictures import figures, side_by_side
from vqlink.reporting.plots import curve_figure, curves, largest_fall
from vqlink.reporting.send_report import degradation, headline, write_send_report


def row(system: str, snr_db: float, value: float, **changes: object) -> Row:
    base = Row(
        system=system, recipe=None, weights=None, channel="awgn", point={"snr_db": snr_db},
        repeat=0, sample="a", metric="psnr", unit="dB", value=value, uses=100, rho=1 / 12,
        tx_power=1.0, status="ok", flags=[], labels={}, seed=0, versions={"torch": "2"},
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def arrival(system: str, psnr: float, *, status: str = "ok", **labels: object) -> Arrival:
    return Arrival(
        system=system, received=smooth_picture(96, 128, seed=1),
        metrics={"psnr": psnr, "ssim": 0.9}, uses=3072, rho=1 / 12, tx_power=1.0, status=status,
        labels=labels, seconds=1.0, rows=(row(system, 10, psnr),),
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture(name="result")
def fixture_result() -> SendResult:
    sweep = [row("code", s, 25 + s / 4, labels={"role": "learned"}) for s in (0.0, 2.0, 4.0)]
    sweep += [
        row("link@qpsk-1/2", s, v, status=status, labels={"role": "fixed"})
        for s, v, status in ((0.0, 12.0, "outage"), (2.0, 30.0, "ok"), (4.0, 30.0, "ok"))
    ]
    return SendResult(
        source="<script>alert(1)</script>.png", sent=smooth_picture(96, 128),
        arrivals=(arrival("code", 28.0), arrival("link", 30.5, mcs="qpsk-1/2", payload_bytes=80.0),
                  arrival("lost", 12.0, status="outage")),
        channel="awgn", snr_db=4.0, seed=0, sweep=tuple(sweep),
        sweep_note="the whole picture", command="vqlink send '<x>'",
    )  # fmt: skip


def test_page_is_complete_escaped_and_self_contained(result: SendResult, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_send_report(result, path)
    page = path.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)\s*=\s*"(?!data:|#)', page)
    assert "@import" not in page
    assert "url(http" not in page
    assert page.count("data:image/webp") == 4
    for text in ("28.00", "30.50", "3,072", "outage", "qpsk-1/2", "torch 2", "Es/N0"):
        assert text in page


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("jpeg+ldpc5g", "count; 5G LDPC, decoded"),
        ("hevc+ldpc80211ad@16qam-1/2", "count; 802.11ad LDPC, decoded"),
    ],
)
def test_the_code_of_the_links_is_named(
    link: str, words: str, result: SendResult, tmp_path: Path
) -> None:
    linked = replace(result, arrivals=(arrival("code", 28.0), arrival(link, 30.5)))
    for name, shown in (
        ("linked", linked),
        ("alone", replace(linked, arrivals=linked.arrivals[:1])),
    ):
        write_send_report(shown, tmp_path / name)
    assert words in (tmp_path / "linked").read_text()
    assert "LDPC" not in (tmp_path / "alone").read_text()


def test_words_come_from_the_figures(result: SendResult) -> None:
    assert headline(result) == "link arrived best, 2.5 dB ahead of code"
    text = degradation(result)
    assert "code loses at most 0.5 dB for a step of 2 dB" in text
    assert "is lost at 0 dB and below: a fall of 18.0 dB" in text


def test_the_same_result_gives_the_same_page(result: SendResult, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_send_report(result, tmp_path / name)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_side_by_side_shows_every_system(result: SendResult, tmp_path: Path) -> None:
    path = tmp_path / "side.png"
    side_by_side(result, path)
    with Image.open(path) as picture:
        assert picture.width == 4 * (400 + 20) + 20
        assert picture.height > 400


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (900, 40)])
def test_side_by_side_of_any_shape(
    result: SendResult, tmp_path: Path, size: tuple[int, int]
) -> None:
    shaped = [replace(a, received=smooth_picture(*size)) for a in result.arrivals]
    odd = replace(result, sent=smooth_picture(*size), arrivals=tuple(shaped))
    side_by_side(odd, tmp_path / "side.png")
    write_send_report(odd, tmp_path / "report.html")


def test_a_point_that_was_not_run_is_not_there() -> None:
    spots = curves([row("s", 0.0, 20.0), row("s", 10.0, 30.0)])["s", ""]
    assert [spot.snr_db for spot in spots] == [0.0, 10.0]
    assert largest_fall(spots) == 10.0


def test_bands_and_outages_are_drawn() -> None:
    plain = curve_figure([row("s", s, 20 + s) for s in (0.0, 2.0)], "PSNR in dB")
    several = [row("s", s, 20 + s + d, sample=str(d)) for s in (0.0, 2.0) for d in (0, 1)]
    assert curve_figure(several, "PSNR in dB").count("<path") > plain.count("<path")
    lost = curve_figure([row("s", 0.0, 12.0, status="outage"), row("s", 2.0, 22.0)], "PSNR in dB")
    assert "fill: #ffffff" in lost
    assert "fill: #ffffff" not in plain


def test_a_partly_lost_frame_says_so() -> None:
    assert arrival("code", 20.0, lost=0.336).shown_status == "34 % lost"
    assert arrival("code", 20.0, lost=0.0).shown_status == "ok"
    assert arrival("link", 10.0, status="outage").shown_status == "outage"
    assert figures(arrival("code", 20.0, lost=0.336)).endswith("34 % lost")
