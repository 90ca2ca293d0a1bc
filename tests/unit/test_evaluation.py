"""Rows, summaries and the measurement itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.conftest import small_recipe, smooth_picture
from vqlink.channels.fading import Rayleigh
from vqlink.config.build import build_link, build_system
from vqlink.config.channels import parse_channel
from vqlink.config.weights import save_weights
from vqlink.digital import hevc
from vqlink.evaluation.rows import (
    Case,
    Figure,
    Row,
    append_rows,
    digest,
    mend_rows,
    power_flags,
    read_rows,
    rows_of,
    to_line,
    whole_lines,
)
from vqlink.evaluation.run import evaluate, measure, summarise
from vqlink.evaluation.systems import System, open_channel, open_systems
from vqlink.protocols import Point, Transmission, VqlinkError
from vqlink.rng import Generators, normal, stream
from vqlink.sources.datasets import open_images
from vqlink.sources.images import write_image
from vqlink.systems.jscc import JSCC


class Noisy:
    """Adds a tenth of standard noise to a picture; loses it at 0 dB."""

    name = "noisy"

    def uses(self, height: int, width: int) -> int:
        return height * width

    def transmit(self, x: torch.Tensor, point: Point, *, generator: Generators) -> Transmission:
        snr = point.snr(x.shape[0])
        received = (x + 0.1 * normal(x.shape, generator=generator)).clamp(0, 1)
        lost = snr <= 0
        received[lost] = 128 / 255
        return Transmission(
            received,
            uses=torch.full((len(x),), self.uses(*x.shape[2:])),
            tx_power=torch.full((len(x),), 1.05),
            outage=lost,
        )


@pytest.fixture(name="system")
def fixture_system() -> System:
    return System("noisy", Noisy())


def row(**changes: object) -> Row:
    base = Row(
        system="s", recipe=None, weights=None, channel="awgn", point={"snr_db": 1.0}, repeat=0,
        sample="a", metric="psnr", unit="dB", value=30.0, uses=10, rho=0.1, tx_power=1.0,
        status="ok", flags=[], labels={"mcs": "qpsk-1/2"}, seed=0, versions={},
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def test_rows_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    rows = [row(), row(sample="b", status="outage", value=12.5)]
    append_rows(path, rows[:1])
    append_rows(path, rows[1:])
    assert read_rows(path) == rows


def test_no_infinity_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_rows(tmp_path / "rows.jsonl", [row(value=math.inf)])


def test_corrupt_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [row()])
    for line in ("{", '{"system": 1}', "[]"):
        path.write_text(path.read_text().splitlines()[0] + "\n" + line + "\n")
        with pytest.raises(VqlinkError, match="line 2"):
            read_rows(path)


LINE = to_line(row())


@pytest.mark.parametrize("cut", [1, 5, 14, len(LINE) - 1])
def test_the_beginning_of_a_row_is_cut_off(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{LINE}\n{LINE[:cut]}")
    assert mend_rows(path) == [row()]
    assert path.read_text() == LINE + "\n"


def test_a_row_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{LINE}\n{LINE}")
    assert mend_rows(path) == [row(), row()]
    assert path.read_text() == f"{LINE}\n{LINE}\n"


@pytest.mark.parametrize(
    "text",
    [
        "what I must not forget",
        "a note\nof two lines",
        f"a note\n{LINE[:20]}",
        f"{LINE}\na note",
        '{"mine": 1}',
        '{"sy": "stem',
        "[" * 100_000,
    ],
)
def test_a_file_of_anything_else_stays_as_it_is(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(VqlinkError, match=r"notes\.txt"):
        mend_rows(path)
    assert path.read_text() == text


def test_whole_lines_of_any_objects() -> None:
    assert whole_lines(b"") == b""
    assert whole_lines(b'{"a": 1}\n{"a"') == b'{"a": 1}\n'
    assert whole_lines(b'{"a": 1}\n{"a": 2}') == b'{"a": 1}\n{"a": 2}\n'
    with pytest.raises(VqlinkError, match="note"):
        whole_lines(b"a note")


def test_power_flag_is_a_tenth_of_a_decibel() -> None:
    assert [power_flags(power) for power in (1.0, 1.02, 0.98)] == [[], [], []]
    assert [power_flags(power) for power in (1.03, 0.97, 0.0)] == [["power"]] * 3


def test_an_outage_counts_and_power_is_flagged(system: System, picture_folder: Path) -> None:
    rows = evaluate([system], open_images(str(picture_folder)), channel="awgn", snr_db=[0, 10])
    psnr = [r for r in rows if r.metric == "psnr"]
    assert len(psnr) == 6
    assert {r.status for r in psnr if r.point["snr_db"] == 0} == {"outage"}
    assert all(r.flags == ["power"] for r in psnr)
    low, high = (s for s in summarise(rows) if s.metric == "psnr")
    assert (low.outages, low.n, high.outages) == (3, 3, 0)
    assert low.mean < high.mean
    assert low.flags == ("power",)


def test_noise_belongs_to_the_picture_and_not_to_the_order(
    system: System, picture_folder: Path
) -> None:
    images = open_images(str(picture_folder))
    rows = evaluate([system], images, channel="awgn", snr_db=[5, 10], repeats=2)
    name, image = images[2]
    alone = measure(system, image, name, channel="awgn", point=Point(snr_db=10.0), repeat=1, seed=0)
    same = [r for r in rows if r.sample == name and r.repeat == 1 and r.point["snr_db"] == 10]
    assert list(alone.rows) == same
    assert len({r.value for r in rows if r.metric == "psnr"}) == 12


def test_summary_against_hand_arithmetic() -> None:
    rows = [row(sample=s, repeat=r, value=v) for s, r, v in
            (("a", 0, 30.0), ("a", 1, 32.0), ("b", 0, 34.0), ("b", 1, 36.0))]  # fmt: skip
    (summary,) = summarise(rows)
    assert summary.mean == 33.0
    # Means of the pictures are 31 and 35: deviation 2.828, standard error 2.
    assert summary.ci95 == pytest.approx(1.96 * 2)
    assert summary.n == 4
    assert summarise(rows[:1])[0].ci95 is None


def test_resumption_measures_nothing_twice(
    system: System, picture_folder: Path, tmp_path: Path
) -> None:
    out, images = tmp_path / "rows.jsonl", open_images(str(picture_folder))
    first = evaluate([system], images, channel="awgn", snr_db=[10], out=out)
    text = out.read_text()
    again = evaluate([system], images, channel="awgn", snr_db=[10], out=out)
    assert again == first
    assert out.read_text() == text
    evaluate([system], images, channel="awgn", snr_db=[10], out=out, seed=1)
    assert len(out.read_text().splitlines()) == 2 * len(text.splitlines())
    assert json.loads(text.splitlines()[0])["versions"]["vqlink"]


def test_another_version_of_a_link_is_measured_anew(picture_folder: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "rows.jsonl", open_images(str(picture_folder))

    def measured(recipe: str | None) -> int:
        link = System("noisy", Noisy(), recipe=recipe)
        evaluate([link], images, channel="awgn", snr_db=[10], metrics=["psnr"], out=out)
        return len(out.read_text().splitlines())

    assert [measured("one"), measured("two"), measured("one")] == [3, 6, 6]
    out.unlink()
    assert [measured(None), measured("one")] == [3, 3]  # older rows hold for any version


def test_pictures_of_one_name_are_told_apart(system: System, tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        write_image(smooth_picture(32, 32, seed), tmp_path / folder / "0001.png")
    out = tmp_path / "rows.jsonl"
    first, second = (
        evaluate([system], open_images(str(tmp_path / name)), channel="awgn", snr_db=[9], out=out)
        for name in ("a", "b")
    )
    assert first[0].message != second[0].message
    alone = evaluate([system], open_images(str(tmp_path / "b")), channel="awgn", snr_db=[9])
    assert second == alone
    older = [replace(r, message=None) for r in first]  # such rows hold for any picture of the name
    out.write_text("")
    append_rows(out, older)
    again = evaluate(
        [system], open_images(str(tmp_path / "a")), channel="awgn", snr_db=[9], out=out
    )
    assert again == older


def test_more_metrics_are_added_once(system: System, picture_folder: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "rows.jsonl", open_images(str(picture_folder))
    append_rows(out, [row(point={"probability": 0.1})])  # of another axis: not looked at
    evaluate([system], images, channel="awgn", snr_db=[10], metrics=["psnr"], out=out)
    both = evaluate([system], images, channel="awgn", snr_db=[10], metrics=["psnr", "mse"], out=out)
    text = out.read_text()
    assert len(text.splitlines()) == 1 + 2 * len(images)
    cut = text[: text.rstrip().rindex("\n") + 1]  # killed between two lines of a transmission
    for held in (text, cut):
        out.write_text(held)
        for _ in range(2):
            found = evaluate(
                [system], images, channel="awgn", snr_db=[10], metrics=["psnr", "mse"], out=out
            )
            assert found == both
            assert out.read_text() == text


def test_metrics_that_no_picture_is_large_enough_for(system: System, tmp_path: Path) -> None:
    write_image(smooth_picture(32, 32, 0), tmp_path / "small.png")
    images = open_images(str(tmp_path))
    with pytest.raises(VqlinkError, match="32x32 is too small for ms_ssim"):
        evaluate([system], images, channel="awgn", snr_db=[10], metrics=["ms_ssim"])


def test_a_digital_link_gets_exactly_the_uses_of_the_learned_code(weights: Path) -> None:
    channel = parse_channel("awgn")
    learned, link = open_systems([str(weights), "jpeg+ldpc5g"], channel, Fraction(1, 12))
    for size in ((96, 128), (17, 33), (512, 768)):
        assert link.transceiver.uses(*size) == learned.transceiver.uses(*size)
    assert learned.learned
    assert not link.learned
    assert learned.weights is not None
    (alone,) = open_systems(["jpeg+ldpc5g"], channel, Fraction(1, 12))
    assert alone.transceiver.uses(17, 33) == 17 * 33 * 3 // 12
    with pytest.raises(VqlinkError, match=r"--rho 1/24 is not what .* sends, 0\.0833"):
        open_systems([str(weights), "jpeg+ldpc5g"], channel, Fraction(1, 24))


def test_versions_of_a_digital_link_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(name: str) -> str | None:
        (system,) = open_systems([name], parse_channel("awgn"), Fraction(1, 12))
        return system.recipe

    names = ("hevc+ldpc5g", "hevc-ssim+ldpc5g", "jpeg+ldpc5g", "hevc+ldpc80211ad")
    before = {name: recipe(name) for name in (*names, "hevc+ldpc5g@qpsk-1/2")}
    assert len(set(before.values())) == 5
    assert before == {name: recipe(name) for name in before}
    monkeypatch.setattr("vqlink.digital.mcs.MARGIN_DB", 1.0)
    changed = [name for name in before if recipe(name) != before[name]]
    assert changed == ["hevc+ldpc5g", "hevc-ssim+ldpc5g", "jpeg+ldpc5g"]  # not where it is fixed
    monkeypatch.setitem(hevc._FULL_CHROMA, "psnr", 50)
    assert recipe("hevc+ldpc5g@qpsk-1/2") != before["hevc+ldpc5g@qpsk-1/2"]


def test_the_channel_replaces_the_one_of_training(weights: Path) -> None:
    (system,) = open_systems([str(weights)], parse_channel("rayleigh"), None)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(0)
    sent = system.transceiver.transmit(x, Point(snr_db=10.0), generator=g)
    assert float(sent.stats["gain_power"][0]) != 1.0


def test_another_channel_changes_nothing_else_of_a_code(tmp_path: Path) -> None:
    """All options of its link stay: a rebuilt link once forgot the drive level."""
    made = small_recipe(
        "jscc-q64-awgn-1-24", "link.drive_level=0.3", "link.equalizer=mmse", "link.precode=true"
    )
    save_weights(tmp_path / "w", build_system(made).state_dict(), made)
    channel, _ = open_channel("rayleigh")
    (system,) = open_systems([str(tmp_path / "w")], channel, None)
    assert isinstance(system.transceiver, JSCC)
    link = system.transceiver.link
    want = build_link(made.link)
    assert isinstance(link.channel, Rayleigh)
    for name in ("power", "equalizer", "precode", "mixing", "drive_level"):
        assert getattr(link, name) == getattr(want, name), name


def test_rows_of_a_message_are_its_own_in_the_batch() -> None:
    sent = Transmission(
        received=torch.zeros(2, 4),
        uses=torch.tensor([3, 8]),
        tx_power=torch.tensor([1.0, 0.5]),
        outage=torch.tensor([False, True]),
        stats={"lost": torch.tensor([0.0, 0.25])},
        labels={"mcs": "qpsk-1/2"},
    )
    case = Case("awgn", "snr_db", 10.0, "b", 2, 5, digest("b"))
    figures = [Figure("psnr", "dB", 20.0), Figure("mse", "", 0.5)]
    first, second = rows_of(System("s", Noisy()), sent, 1, case, figures, values=16)
    assert (first.metric, first.unit, first.value) == ("psnr", "dB", 20.0)
    assert (second.metric, second.value) == ("mse", 0.5)
    assert (first.uses, first.rho, first.tx_power) == (8, 0.5, 0.5)
    assert (first.status, first.flags) == ("outage", ["power"])
    assert first.labels == {"mcs": "qpsk-1/2", "lost": 0.25}
    assert first.message == digest(b"b")
    assert (first.point, first.repeat, first.sample, first.seed) == ({"snr_db": 10.0}, 2, "b", 5)
    same = stream(5, "channel", 10.0, 2, "b")
    assert torch.equal(torch.rand(3, generator=case.noise()), torch.rand(3, generator=same))
