"""tx, channel and rx: pictures through files, and every way in which that can fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import small_recipe
from vqlink.cli.main import run
from vqlink.config.build import build_system
from vqlink.config.weights import save_weights
from vqlink.metrics.image import psnr
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.images import read_image
from vqlink.zoo.catalogue import entries, load, load_system

Calls = tuple[int, str, str]


def call(capsys: pytest.CaptureFixture[str], *words: object) -> Calls:
    status = run([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module", name="sent")
def fixture_sent(
    tmp_path_factory: pytest.TempPathFactory, picture_path: Path, weights: Path
) -> Path:
    folder = tmp_path_factory.mktemp("sent")
    path = folder / "sent.sigmf-data"
    assert run(["tx", str(picture_path), "--system", str(weights), "-o", str(path)]) == 0
    return path


def copy(sent: Path, folder: Path) -> Path:
    for suffix in (".sigmf-data", ".sigmf-meta"):
        shutil.copy(sent.with_suffix(suffix), folder / f"copy{suffix}")
    return folder / "copy.sigmf-data"


def with_samples(path: Path, samples: np.ndarray) -> Path:
    """The recording with other samples, its hash taken off."""
    samples.astype("<c8").tofile(path)
    meta = path.with_suffix(".sigmf-meta")
    document = json.loads(meta.read_text())
    document["global"].pop("core:sha512")
    meta.write_text(json.dumps(document))
    return path


def test_tx_counts_every_use(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    path = tmp_path / "a.sigmf-data"
    words = ("tx", picture_path, "--system", weights, "-o", path)
    status, text, _ = call(capsys, *words, "--json")
    assert status == 0
    told = json.loads(text)
    uses = told["uses"]
    assert uses["payload"] == 96 * 128 * 3 // 12
    assert uses["total"] == sum(uses[k] for k in ("sync", "header", "pilots", "payload"))
    assert told["samples"] == path.stat().st_size // 8
    assert told["samples"] >= 4 * uses["total"]
    status, text, _ = call(capsys, *words, "--waveform", "ofdm", "--datatype", "ci16_le")
    assert status == 0
    for word in ("sync 512", "header 400", "payload 3072", "ci16_le", "% beside"):
        assert word in text


@pytest.mark.parametrize("waveform", ["single-carrier", "ofdm"])
@pytest.mark.parametrize("datatype", ["cf32_le", "ci16_le"])
def test_a_picture_arrives_as_over_the_ideal_link(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path,
    waveform: str, datatype: str,
) -> None:  # fmt: skip
    sent, received, out = (tmp_path / n for n in ("s.sigmf-data", "r.sigmf-data", "p.png"))
    tx = ("tx", picture_path, "--system", weights, "--snr", 8, "-o", sent)
    assert call(capsys, *tx, "--waveform", waveform, "--datatype", datatype)[0] == 0
    air = ("--snr", 8, "--cfo", 1e-3, "--delay", 137.4, "--phase", 200, "--gain", -30)
    assert call(capsys, "channel", sent, "-o", received, *air)[0] == 0
    status, text, errors = call(capsys, "rx", received, "-o", out, "--system", weights, "--json")
    assert status == 0, errors
    (frame,) = json.loads(text)["frames"]
    assert (frame["status"], frame["waveform"], frame["size"]) == ("ok", waveform, [128, 96])
    assert frame["cfo"] == pytest.approx(1e-3, abs=2e-5)
    assert frame["snr_db"] == pytest.approx(8, abs=1)
    image, codec = read_image(picture_path)[None], load(str(weights))
    ideal = codec.transmit(image, Point(snr_db=8.0), generator=stream(1, "noise")).received
    arrived = read_image(out)[None]
    assert float(psnr(arrived, image)) > float(psnr(ideal, image)) - 0.5


def test_a_classical_link_and_one_of_the_zoo(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path
) -> None:
    sent, received, out = (tmp_path / n for n in ("s.sigmf-data", "r.sigmf-data", "p.png"))
    for system, *rho in (("jpeg+ldpc5g", "--rho", "1/6"), (entries()[0].name,)):
        tx = ("tx", picture_path, "--system", system, *rho, "--snr", 12, "-o", sent)
        assert call(capsys, *tx)[0] == 0
        air = ("--snr", 13, "--cfo", -5e-4, "--delay", 3.3)
        assert call(capsys, "channel", sent, "-o", received, *air)[0] == 0
        status, text, _ = call(capsys, "rx", received, "-o", out)
        assert status == 0
        assert system in text
    lossy = ("channel", sent, "-o", received, "--snr", -10)
    assert call(capsys, *lossy)[0] == 0


def test_zoo_names_are_those_in_headers() -> None:
    for entry in entries():
        assert load_system(entry.name)[0].name == entry.name


def test_an_uncorrectable_payload_is_an_outage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path
) -> None:
    sent, received, out = (tmp_path / n for n in ("s.sigmf-data", "r.sigmf-data", "p.png"))
    link = ("--system", "jpeg+ldpc5g", "--rho", "1/6", "--snr", 20)
    assert call(capsys, "tx", picture_path, *link, "-o", sent)[0] == 0
    assert call(capsys, "channel", sent, "-o", received, "--snr", 5)[0] == 0
    status, _, error = call(capsys, "rx", received, "-o", out)
    assert (status, error.count("\n")) == (3, 1)
    assert "outage" in error
    assert not out.exists()


def test_two_frames_give_two_pictures(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path, weights: Path
) -> None:
    path = copy(sent, tmp_path)
    one = np.fromfile(path, "<c8")
    with_samples(path, np.concatenate([one, np.zeros(500), 1j * one]))
    status, text, _ = call(capsys, "rx", path, "-o", tmp_path / "p.png", "--system", weights)
    assert (status, text.count("\n")) == (0, 2)
    first, second = read_image(tmp_path / "p.png"), read_image(tmp_path / "p-2.png")
    assert (first - second).abs().max() < 0.05


def test_one_good_frame_and_one_cut_off(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path, weights: Path
) -> None:
    path = copy(sent, tmp_path)
    one = np.fromfile(path, "<c8")
    with_samples(path, np.concatenate([one, one[: len(one) // 2]]))
    words = ("rx", path, "-o", tmp_path / "p.png", "--system", weights)
    status, text, error = call(capsys, *words)
    assert status == 3
    assert text.startswith("frame 1")
    assert "frame 2" in error
    assert "cut off" in error
    assert (tmp_path / "p.png").exists()
    assert not (tmp_path / "p-2.png").exists()


def test_no_frame(capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20_000, 2)) @ [1, 1j]
    path = with_samples(copy(sent, tmp_path), noise)
    status, text, error = call(capsys, "rx", path, "-o", tmp_path / "p.png")
    assert (status, text) == (3, "")
    assert "no frame" in error
    status, text, _ = call(capsys, "rx", path, "-o", tmp_path / "p.png", "--json")
    assert (status, json.loads(text)) == (3, {"frames": []})


def test_unknown_systems_and_others_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path, weights: Path
) -> None:
    status, _, error = call(capsys, "rx", sent, "-o", tmp_path / "p.png")
    # The small net has the name of one in the zoo, but other weights.
    assert (status, error.count("\n")) == (2, 1)
    assert "jscc-q64-awgn-1-12 with weights" in error
    recipe = small_recipe("jscc-awgn-1-12", "name=mine", "training.seed=5")
    save_weights(tmp_path / "mine", build_system(recipe).state_dict(), recipe)
    picture, other = tmp_path / "p.png", tmp_path / "o.sigmf-data"
    call(capsys, "rx", sent, "-o", picture, "--system", weights)
    assert call(capsys, "tx", picture, "--system", tmp_path / "mine", "-o", other)[0] == 0
    status, _, error = call(capsys, "rx", other, "-o", tmp_path / "q.png")
    assert (status, error.count("\n")) == (2, 1)
    assert "not known here" in error
    assert not (tmp_path / "q.png").exists()
    words = ("rx", other, "-o", tmp_path / "q.png", "--system", tmp_path / "mine")
    assert call(capsys, *words)[0] == 0


def test_folders_add_to_the_zoo_also_under_the_same_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    sent, out = tmp_path / "s.sigmf-data", tmp_path / "p.png"
    assert call(capsys, "tx", picture_path, "--system", "jscc-q64-awgn-1-12", "-o", sent)[0] == 0
    assert load_system(str(weights))[0].name == "jscc-q64-awgn-1-12"
    assert call(capsys, "rx", sent, "-o", out, "--system", weights)[0] == 0
    assert out.exists()


def test_two_hops_are_one(capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path) -> None:
    """Es is that of the sender, however much silence and noise the first hop added."""
    one, first, two = (tmp_path / f"{n}.sigmf-data" for n in ("one", "first", "two"))
    air = ("--delay", 5000, "--gain", -20)
    assert call(capsys, "channel", sent, "-o", one, *air, "--snr", 10)[0] == 0
    assert call(capsys, "channel", sent, "-o", first, *air, "--datatype", "ci16_le")[0] == 0
    last = ("-o", two, "--datatype", "cf32_le", "--snr", 10)
    assert call(capsys, "channel", first, *last)[0] == 0
    noise = []
    for path in (one, two):
        meta = json.loads(path.with_suffix(".sigmf-meta").read_text())["global"]
        silence = np.fromfile(path, "<c8")[:19_000]
        noise.append((np.abs(silence) ** 2).mean() / meta["vqlink:symbol_energy"])
    assert noise == pytest.approx([0.1, 0.1], rel=0.05)


def test_a_recording_without_a_rate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path, weights: Path
) -> None:
    path = copy(sent, tmp_path)
    meta = path.with_suffix(".sigmf-meta")
    document = json.loads(meta.read_text())
    document["global"].pop("core:sample_rate")
    meta.write_text(json.dumps(document))
    noisy = tmp_path / "n.sigmf-data"
    status, _, error = call(capsys, "channel", path, "-o", noisy, "--multipath", "tdl-a")
    assert (status, error.count("\n")) == (2, 1)
    assert "core:sample_rate" in error
    assert call(capsys, "channel", path, "-o", noisy, "--snr", 20)[0] == 0
    assert call(capsys, "rx", noisy, "-o", tmp_path / "p.png", "--system", weights)[0] == 0


BAD = {
    "rx to a folder": ("rx {sent} -o {tmp}/folder.png", "is a folder"),
    "channel without ending": ("channel {sent} -o {tmp}/a", "sigmf-data"),
    "tx huge rate": ("tx {picture} -o {tmp}/a.sigmf-data --symbol-rate 1e308", "--symbol-rate"),
    "tx wrong ending": ("tx {picture} -o {tmp}/a.wav", "sigmf-data"),
    "tx no out": ("tx {picture}", "--out"),
    "tx waveform": ("tx {picture} -o {tmp}/a.sigmf-data --waveform fm", "single-carrier"),
    "tx datatype": ("tx {picture} -o {tmp}/a.sigmf-data --datatype ri8", "cf32_le"),
    "tx sps": ("tx {picture} -o {tmp}/a.sigmf-data --sps 1", "--sps"),
    "tx rate": ("tx {picture} -o {tmp}/a.sigmf-data --symbol-rate nan", "--symbol-rate"),
    "tx no rho": ("tx {picture} -o {tmp}/a.sigmf-data --system hevc+ldpc5g", "--rho"),
    "tx tiny rho": (
        "tx {picture} -o {tmp}/a.sigmf-data --system jpeg+ldpc5g --rho 1/200", "do not fit",
    ),
    "tx no folder": ("tx {picture} -o {tmp}/none/a.sigmf-data", "none"),
    "tx no picture": ("tx {tmp}/none.png -o {tmp}/a.sigmf-data", "none.png"),
    "channel cfo": ("channel {sent} -o {tmp}/a.sigmf-data --cfo 1", "--cfo"),
    "channel nan": ("channel {sent} -o {tmp}/a.sigmf-data --delay nan", "--delay"),
    "channel negative": ("channel {sent} -o {tmp}/a.sigmf-data --delay=-3", "--delay"),
    "channel multipath": ("channel {sent} -o {tmp}/a.sigmf-data --multipath tdl-z", "tdl-a"),
    "channel spread": ("channel {sent} -o {tmp}/a.sigmf-data --delay-spread 0.5", "symbols"),
    "channel onto itself": ("channel {sent} -o {sent}", "another name"),
    "channel onto itself by a detour": (
        "channel {sent} -o {sent.parent}/../{sent.parent.name}/{sent.name}", "another name",
    ),
    "channel no file": ("channel {tmp}/none.sigmf-data -o {tmp}/a.sigmf-data", "none"),
    "rx no file": ("rx {tmp}/none.sigmf-data -o {tmp}/p.png", "none"),
    "rx a picture": ("rx {picture} -o {tmp}/p.png", "sigmf-data"),
    "rx out": ("rx {sent} -o {tmp}/p.jpg", "png"),
    "rx sps": ("rx {sent} -o {tmp}/p.png --sps 1", "--sps"),
    "rx no weights": ("rx {sent} -o {tmp}/p.png --system {tmp}/none", "none"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path, picture_path: Path, name: str
) -> None:
    words, hint = BAD[name]
    places = {"tmp": tmp_path, "sent": sent, "picture": picture_path}
    (tmp_path / "folder.png").mkdir()
    status, _, error = call(capsys, *(word.format(**places) for word in words.split()))
    assert (status, error.count("\n")) == (2, 1), error
    assert hint in error


def test_damaged_recordings_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sent: Path
) -> None:
    path = copy(sent, tmp_path)
    samples = np.fromfile(path, "<c8")
    samples[1000] = np.nan
    with_samples(path, samples)
    status, _, error = call(capsys, "rx", path, "-o", tmp_path / "p.png")
    assert (status, error.count("\n")) == (2, 1)
    assert "NaN" in error
    path.with_suffix(".sigmf-meta").write_text("{]")
    status, _, error = call(capsys, "rx", path, "-o", tmp_path / "p.png")
    assert (status, error.count("\n")) == (2, 1)
    assert "sigmf-meta" in error
