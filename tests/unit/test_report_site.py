"""The site of a folder of results: whole, escaped, self-contained, and honest about its bands."""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_reporting import row
from vqlink.errors import VqlinkError
from vqlink.evaluation.rows import append_rows
from vqlink.reporting.site.charts import curve_chart
from vqlink.reporting.site.collect import collect
from vqlink.reporting.site.panels import MESSAGES, NOTHING, RECORDED, SEEDS, panels
from vqlink.reporting.site.write import write_report
from vqlink.sources.audio import write_audio

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert('x')</script>\" onload=\"alert(1)"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(2)</script></svg>'


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def toy(seed: int, bits: int, mse: float, method: str = "nsvq") -> dict[str, object]:
    return {"method": method, "bits": bits, "seed": seed, "mse": mse}


DOCUMENT: dict[str, object] = {
    "experiment": "toy-table1",
    "title": f"002, Table 9: {EVIL}",
    "table": [{"bits": 6, "mse": 0.5, "paper": 0.25}, {"bits": 8, "mse": None, "paper": 0.125}],
    "claims": [
        {"text": f"better {EVIL}", "held": True, "figures": "0.5"},
        {"text": "faster", "held": False, "figures": "twice"},
        {"text": "rounder", "held": None, "figures": "not run"},
    ],
    "rows": "elsewhere/toy.jsonl",
    "plots": ["elsewhere/toy-plot.svg", "gone.svg"],
    "notes": [f"a note {EVIL}"],
}


@pytest.fixture(name="results")
def fixture_results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    sent = [
        row(EVIL, snr, 20 + snr + d, sample=str(d), status="outage" if snr == 0 else "ok")
        for snr in (0.0, 4.0)
        for d in (0, 1, 2)
    ]
    append_rows(folder / "sent" / "rows.jsonl", sent)
    write_lines(folder / "toy.jsonl", [toy(s, b, b + s / 10) for s in (0, 1, 2) for b in (6, 8)])
    (folder / "toy-table1.json").write_text(json.dumps(DOCUMENT))
    for name in ("toy-plot.svg", "loose & free.svg"):
        (folder / name).write_text(SVG)
    write_audio(torch.zeros(160), folder / "sent" / "heard.wav")
    (folder / "notes.txt").write_text("not shown")
    return folder


class Page(HTMLParser):
    """What a browser would take from a page: tags, and addresses of links and files."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.handlers = 0, 0
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += sum(name.startswith("on") for name, _ in attrs)
        self.addresses += [v or "" for name, v in attrs if name in ("href", "src")]
        self.ids += [v or "" for name, v in attrs if name == "id"]


def check_site(site: Path) -> dict[str, str]:
    pages = {path.name: path.read_text() for path in site.glob("*.html")}
    for text in pages.values():
        page = Page(text)
        assert (page.scripts, page.handlers) == (1, 0)
        for address in page.addresses:
            assert address.startswith("#") or (site / address).is_file(), address
        assert not re.search(r'href="[^"]*\.svg"', text)  # opened alone, its scripts would run
        assert "url(" not in text
    return pages


def test_a_site_of_everything(results: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert write_report([results], site) == 12
    pages = check_site(site)
    assert set(pages) >= {"index.html", "claims.html", "systems.html", "toy-table1.html"}
    experiment = pages["toy-table1.html"]
    for text in (
        "held",
        "not held",
        "open",
        "paper",
        "vqlink reproduce toy-table1",
        "seeds 0, 1, 2",
    ):
        assert text in experiment
    assert "one standard deviation over seeds" in experiment
    sent = pages["rows-sent-rows.html"]
    assert "95 % interval of the mean over messages" in sent
    assert "<audio" in sent
    assert "mark hollow" in sent
    assert "vqlink evaluate" in sent
    assert "notes.txt" in pages["index.html"]
    assert "loose" in pages["other-files.html"]
    assert "1 held, 1 not held, 1 open" in pages["claims.html"]


def test_one_page_of_everything(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.html"
    write_report([results], out)
    page = Page(out.read_text())
    assert (page.scripts, page.handlers) == (1, 0)
    anchors = {address[1:] for address in page.addresses if address.startswith("#")}
    assert anchors <= set(page.ids)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert sum(address.startswith("data:audio/wav") for address in page.addresses) == 1


def test_the_same_results_give_the_same_site(results: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report([results], tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_report_may_lie_among_its_results_and_be_written_again(results: Path) -> None:
    for _ in range(2):
        assert write_report([results], results / "report") == 12
    assert not list(results.glob(".vqlink-report-*"))


def test_bands_are_what_they_are_called() -> None:
    seeds = panels([toy(s, b, s * b) for s in (0, 1, 2) for b in (6, 8)])[0]
    spot = seeds.curves["nsvq"]["mse"][0]
    assert (seeds.axis, spot.x, spot.mean, spot.n, spot.band) == ("bits", 6, 6.0, 3, SEEDS)
    assert spot.half == statistics.stdev([0, 6, 12])

    recorded = {"system": "s", "snr_db": 1.0, "psnr": 20.0, "psnr_ci95": 0.5, "n": 12}
    spot = panels([recorded, recorded | {"snr_db": 2.0}])[0].curves["s"]["psnr"][0]
    assert (spot.half, spot.n, spot.band) == (0.5, 12, RECORDED)

    # Two draws of one message are averaged first: the interval is over messages.
    values = {("a", 0): 1.0, ("a", 1): 3.0, ("b", 0): 4.0, ("b", 1): 6.0}
    messages = [
        {"system": "s", "snr_db": snr, "sample": sample, "repeat": repeat, "psnr": value}
        for (sample, repeat), value in values.items()
        for snr in (0.0, 2.0)
    ]
    spot = panels(messages)[0].curves["s"]["psnr"][0]
    assert (spot.mean, spot.n, spot.band) == (3.5, 4, MESSAGES)
    assert spot.half == pytest.approx(1.96 * statistics.stdev([2.0, 5.0]) / math.sqrt(2))

    alone = panels([toy(0, 6, 1.0), toy(0, 8, 2.0)])[0].curves["nsvq"]["mse"][0]
    assert (alone.half, alone.band) == (None, NOTHING)


def test_what_differs_in_its_data_shares_no_axes() -> None:
    rows = [
        {"system": "s", "channel": channel, "snr_db": snr, "psnr": 1.0}
        for channel in ("awgn", "rayleigh")
        for snr in (0.0, 1.0)
    ]
    assert [panel.title for panel in panels(rows)] == ["channel awgn", "channel rayleigh"]


def test_measurements_of_other_weights_or_pictures_are_not_merged(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    kinds = [("a" * 64, "one"), ("b" * 64, "one"), ("a" * 64, "two")]
    append_rows(
        path,
        [
            row("code", snr, 20 + place, weights=weights, message=message)
            for place, (weights, message) in enumerate(kinds)
            for snr in (0.0, 4.0)
        ]
        + [row("link", snr, 10, recipe="c" * 12, message="one") for snr in (0.0, 4.0)],
    )
    (found,) = collect([path]).row_files
    assert len(found.rows) == 8
    (panel,) = panels(found.rows)
    assert {name: curve["psnr"][0].mean for name, curve in panel.curves.items()} == {
        "code, hash aaaaaaaa": 21.0,
        "code, hash bbbbbbbb": 21.0,
        "link": 10.0,
    }
    assert panel.curves["code, hash aaaaaaaa"]["psnr"][0].band == MESSAGES


def test_older_rows_go_with_the_one_version_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    older = row("link", 0.0, 20)
    newer = row("link", 0.0, 0.9, metric="ssim", recipe="c" * 12, message="one")
    append_rows(path, [older, newer])
    (found,) = collect([path]).row_files
    assert [(flat["psnr"], flat["ssim"]) for flat in found.rows] == [(20, 0.9)]


def test_a_point_that_was_not_run_is_not_drawn() -> None:
    rows = [{"system": "s", "snr_db": x, "psnr": 20.0 + x} for x in (0.0, 10.0)]
    drawn = curve_chart(panels(rows)[0], "psnr")
    assert drawn.count("<circle") == 2
    assert curve_chart(panels(rows[:1])[0], "psnr") == ""


BROKEN = {
    "no json": ("rows.jsonl", "{"),
    "no object": ("rows.jsonl", "[1]"),
    "no figure": ("rows.jsonl", '{"system": "x"}'),
    "nan": ("rows.jsonl", '{"psnr": NaN}'),
    "infinite": ("rows.jsonl", '{"psnr": 1e999}'),
    "deep": ("rows.jsonl", "[" * 100_000),
    "half a message": ("rows.jsonl", '{"metric": "psnr", "value": 1, "point": {}}'),
    "not utf-8": ("rows.jsonl", b"\xff\xfe"),
    "cut": ("table.json", '{"experiment": "x", "claims": ['),
    "a claim of another kind": ("table.json", json.dumps(DOCUMENT | {"claims": [1]})),
    "a table of another kind": ("table.json", json.dumps(DOCUMENT | {"table": [{"a": [1]}]})),
    "commands": ("commands.json", "[]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_damaged_is_refused_and_nothing_is_lost(
    name: str, results: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    write_report([results], site)
    before = sorted(path.name for path in tmp_path.iterdir())
    index = (site / "index.html").read_bytes()
    file, text = BROKEN[name]
    (results / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(VqlinkError, match=file):
        write_report([results], site)
    assert (site / "index.html").read_bytes() == index
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    for source in ("empty.jsonl", "none.jsonl", "folder"):
        with pytest.raises(VqlinkError, match=source):
            write_report([tmp_path / source], tmp_path / "page.html")


def test_several_folders_of_the_same_names(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_lines(other / "toy.jsonl", [toy(0, 6, 1.0)])
    write_lines(tmp_path / "point" / "toy.jsonl", [{"system": "s", "snr_db": 7.0, "psnr": 20.0}])
    (other / "commands.json").write_text(json.dumps({"toy.jsonl": f"make {EVIL}"}))
    site = tmp_path / "site"
    assert write_report([results, other, tmp_path / "point"], site) == 14
    pages = check_site(site)
    assert "make &lt;script" in pages["rows-other-toy.html"]
    assert "Es/N0 in dB: 7" in pages["rows-point-toy.html"]


def test_a_folder_with_other_files_is_left_alone(results: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(VqlinkError, match="no report of vqlink"):
        write_report([results], tmp_path / "mine")
    write_report([results], tmp_path / "site")
    (tmp_path / "site" / "notes.txt").write_text("beside an earlier report")
    with pytest.raises(VqlinkError, match="no report of vqlink"):
        write_report([results], tmp_path / "site")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "site" / "notes.txt").rename(tmp_path / "site" / "files" / "notes.txt")
    with pytest.raises(VqlinkError, match="no report of vqlink"):
        write_report([results], tmp_path / "site")
    (tmp_path / "theirs" / "files").mkdir(parents=True)
    (tmp_path / "theirs" / "files" / "photo.png").write_bytes(b"theirs")
    with pytest.raises(VqlinkError, match="no report of vqlink"):
        write_report([results], tmp_path / "theirs")


def test_links_to_what_lies_elsewhere_are_not_followed(results: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    (results / "plot.png").symlink_to(tmp_path / "key")
    (results / "same.svg").symlink_to(results / "toy-plot.svg")
    write_report([results], tmp_path / "site")
    names = {path.name for path in (tmp_path / "site" / "files").iterdir()}
    assert not any("secret" in (tmp_path / "site" / "files" / n).read_text("latin1") for n in names)
    assert "same.svg" in names


def test_the_rows_that_ship(tmp_path: Path) -> None:
    """Every file of results/ has a page with curves or points, and every figure its spread."""
    site = tmp_path / "site"
    count = write_report([ROOT / "results"], site)
    pages = check_site(site)
    found = collect([ROOT / "results"])
    assert count == sum(file.count for file in found.row_files)
    assert not found.others
    experiments = {experiment.experiment for _, experiment in found.experiments}
    assert {f"{name}.html" for name in experiments} <= set(pages)
    for name, text in pages.items():
        figures = re.findall(r'<figure class="chart">.*?</figure>', text, flags=re.DOTALL)
        assert all("Band: " in figure and 'class="how"' in figure for figure in figures)
        if name.startswith("rows-"):
            assert figures
            assert "do not say which command" not in text
    assert "learned with the code" in pages["system-jscc-l16-awgn-1-12.html"]


@pytest.mark.slow
def test_the_sample_voice_can_be_heard(results: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_report([results], site, listen=True)
    page = check_site(site)["listen.html"]
    assert page.count("<audio") > 6
    assert "vqlink send sample:voice --snr 10 --seed 0" in page


@pytest.mark.slow
def test_in_a_browser_tables_sort_and_claims_filter(results: Path, tmp_path: Path) -> None:
    """From file://, without an error and without a request to anywhere else."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    site = tmp_path / "site"
    write_report([results], site)
    asked: list[str] = []
    errors: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "toy-table1.html").as_uri())
        head = page.locator("table.sortable").first.get_by_role("button", name="bits")
        column = "table.sortable tbody tr td:first-child"
        for direction, first in (("ascending", "6"), ("descending", "8")):
            head.click()
            assert head.locator("xpath=..").get_attribute("aria-sort") == direction
            assert page.locator(column).first.inner_text() == first
        assert page.evaluate("document.querySelector('img').naturalWidth") > 0
        page.goto((site / "claims.html").as_uri())
        page.get_by_role("button", name="not held").click()
        assert page.locator("tr[data-verdict]:visible").count() == 1
        page.set_viewport_size({"width": 380, "height": 800})
        page.reload()
        width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert width <= 380
    assert errors == []
    assert all(url.startswith("file:") for url in asked)


def refused(call: Callable[[], object]) -> str:
    """The refusal's text; empty where there was none. Any other exception is a failure."""
    try:
        call()
    except VqlinkError as refusal:
        return str(refusal)
    return ""


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
)
NAMES = st.sampled_from(
    ["system", "method", "snr_db", "psnr", "psnr_ci95", "mse", "seed", "sample", "n", "outages",
     "points", "shares", "bits", "blocks", "errors", "channel", "replacement", "<b>"]
)  # fmt: skip
ANYTHING = st.one_of(SCALARS, st.lists(st.lists(SCALARS, max_size=3), max_size=4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(NAMES, ANYTHING, max_size=8), min_size=1, max_size=6))
def test_rows_of_any_kind_are_shown_or_refused(rows: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_lines(Path(folder) / "rows.jsonl", rows)
        page = Path(folder) / "page.html"
        refusal = refused(lambda: write_report([Path(folder) / "rows.jsonl"], page))
        assert "rows.jsonl" in refusal or Page(page.read_text()).handlers == 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["rows.jsonl", "table.json", "commands.json"]))
def test_bytes_of_any_kind_are_shown_or_refused(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_lines(Path(folder) / "good.jsonl", [toy(0, 6, 1.0)])
        (Path(folder) / name).write_bytes(data)
        refusal = refused(lambda: collect([Path(folder)]))
        assert not refusal or name in refusal
