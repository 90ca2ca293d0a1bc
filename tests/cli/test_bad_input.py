"""Every user's mistake: one clear line on standard error, exit status 2, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vqlink.cli.main import run


@pytest.fixture(name="bad")
def fixture_bad(tmp_path: Path, picture_path: Path) -> Path:
    (tmp_path / "text.png").write_text("this is no picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    whole = tmp_path / "whole.jpg"
    Image.open(picture_path).convert("RGB").save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-600])
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "broken.jsonl").write_text('{"system": "x"}\n')
    (tmp_path / "good.jsonl").write_text('{"system": "x", "psnr": 1.0}\n')
    return tmp_path


SEND = "send {picture} --system {weights} --against jpeg+ldpc5g"
CASES = {
    "missing file": ("send {bad}/none.png --system {weights}", "none.png"),
    "text as png": ("send {bad}/text.png --system {weights}", "text.png"),
    "truncated jpeg": ("send {bad}/cut.jpg --system {weights}", "cut.jpg"),
    "one pixel": ("send {bad}/tiny.png --system {weights}", "16"),
    "bomb": ("send {bad}/bomb.png --system {weights}", "megapixel"),
    "a folder": ("send {bad} --system {weights}", "folder"),
    "unknown sample": ("send sample:nobody --system {weights}", "astronaut"),
    "unknown system": ("send {picture} --system jscc-q64-awgn-1-13", "did you mean"),
    "unknown codec": (SEND + " heif+ldpc5g", "hevc"),
    "unknown code": (SEND + " hevc+ldpc6g", "ldpc5g"),
    "unknown mcs": (SEND + " hevc+ldpc5g@16qam-1/9", "16qam-1/3"),
    "unknown channel": (SEND + " --channel raleigh", "rayleigh"),
    "bit channel": (SEND + " --channel bsc", "no SNR"),
    "nan snr": (SEND + " --snr nan", "--snr"),
    "infinite snr": (SEND + " --snr inf", "--snr"),
    "word as snr": (SEND + " --snr loud", "--snr"),
    "rho too large": (SEND + " --rho 3", "rho"),
    "rho zero": (SEND + " --rho 0", "rho"),
    "rho no number": (SEND + " --rho x", "rho"),
    "rho not in the zoo": ("send {picture} --rho 1/7", "1/12"),
    "out is a file": (SEND + " --out {bad}/file", "file"),
    "out below a file": (SEND + " --out {bad}/file/deeper", "file"),
    "rho of another code": (SEND + " --rho 1/24", "sends, 0.0833"),
    "rho of another code in evaluate": (
        "evaluate {weights} --data {picture} --rho 1/24",
        "--rho 1/24",
    ),
    "rho of another code in tx": (
        "tx {picture} -o {bad}/air.sigmf-data --rho 1/24",
        "jscc-q64-awgn-1-12 sends",
    ),
    "a copy of a recipe without its ending": ("recipes cp jscc-awgn-1-12 {bad}/mine", ".yaml"),
    "a copy of a recipe of another ending": ("recipes cp jscc-awgn-1-12 {bad}/mine.yml", ".yaml"),
    "unknown verb": ("sned {picture}", "sned"),
    "unknown option": (SEND + " --frob", "--frob"),
    "no input": ("send", "INPUT"),
    "empty folder": ("evaluate {weights} --data {bad}/empty", "empty"),
    "nan among snr": ("evaluate {weights} --data {picture} --snr 0 nan", "nan"),
    "unknown metric": ("evaluate {weights} --data {picture} --metric pnsr", "psnr"),
    "no samples": ("evaluate {weights} --data {picture} --samples 0", "samples"),
    "evaluate of a text code": ("evaluate text-q32 --data {picture}", "reproduce text-bec-fig3"),
    "evaluate of a text link": ("evaluate huffman+turbo --data {picture}", "is for sentences"),
    "evaluate of a speech code": ("evaluate speech-jscc --data {picture}", "send RECORDING.wav"),
    "evaluate of a speech link": ("evaluate speech+ldpc5g --data {picture}", "for recordings"),
    "a sentence by a picture code": (
        "send hello --channel bec --erasure 0.1 --system jscc-awgn-1-12",
        "is for pictures",
    ),
    "a picture by a text code": ("send {picture} --system text-q32", "is for sentences"),
    "links without rho": ("evaluate jpeg+ldpc5g --data {picture}", "--rho"),
    "a rate that no code has": ("train vqdeepsc-4 --set link.rate=1/99", "1/5 to 11/12"),
    "a rate of the other code": ("train vqdeepsc-4 --set link.code=ldpc80211ad", "13/16"),
    "scales above one": (
        "train jscc-awgn-1-12 --set source.scales=[0.5,2.0]",
        "source.scales.1",
    ),
    "scales out of order": ("train jscc-awgn-1-12 --set source.scales=[0.5,0.2]", "source.scales"),
    "a beta of one": ("train jscc-awgn-1-12 --set training.betas=[0.9,1.0]", "training.betas.1"),
    "no hardness": ("train jscc-q64-awgn-1-12 --set quantizer.hardness=[0,100]", "hardness.0"),
    "channels that can't be mixed": (
        "train jscc-q64-awgn-1-12 --set encoder.channels=24",
        "power of two",
    ),
    "an absurd seed": ("train jscc-awgn-1-12 --set training.seed=99999999999999999999", "seed"),
    "a probability above one": (
        "train text-q32 --set evaluation.probability=[0.2,2.0]",
        "evaluation.probability.1",
    ),
    "a rho of a sentence": ("send hello --channel bec --erasure 0.1 --rho 1/9", "--rho"),
    "scales of no 8 bits": ("export jscc-awgn-1-24 --calibrate {bad}", "--int8"),
    "an odd licence": ("push jscc-awgn-1-24 hf://a/b --license My+Own", "--license"),
    "unknown recipe": ("train jscc-awgn-1-11", "jscc-awgn-1-12"),
    "unknown key": ("train jscc-awgn-1-12 --set training.step=3", "training.steps"),
    "wrong type": ("train jscc-awgn-1-12 --set training.steps=many", "training.steps"),
    "no data": ("train jscc-awgn-1-12 --set source.train={bad}/none --out {bad}/run", "none"),
    "nothing to resume": (
        "train jscc-awgn-1-12-start --set source.train={picture} --out {bad}/run --resume",
        "resume",
    ),
    "corrupt rows": ("report {bad}/broken.jsonl --out {bad}/r.html", "line 1"),
    "no rows": ("report {bad}/empty --out {bad}/r.html", "empty"),
    "a report of a text": ("report {bad}/file --out {bad}/r.html", "file"),
    "a report over a file": ("report {bad}/good.jsonl --out {bad}/file", "is a file"),
    "a report over a folder": ("report {bad}/good.jsonl --out {bad}", "no report of vqlink"),
    "missing rows": ("report {bad}/none.jsonl --out {bad}/r.html", "none.jsonl"),
    "unknown zoo name": ("zoo show nothing", "nothing"),
    "no recipe file": ("recipes validate {bad}/none.yaml", "none.yaml"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_line(
    name: str, bad: Path, picture_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, hint = CASES[name]
    places = {"bad": bad, "picture": picture_path, "weights": weights}
    before = sorted(path.name for path in bad.iterdir())
    arguments = [word.format(**places) for word in words.split()]
    if words.startswith(("send", "sned")) and "--out" not in words:
        arguments += ["--out", str(bad / "out")]
    status = run(arguments)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.startswith("vqlink: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert hint.lower() in captured.err.lower()
    # Nothing half-written: at most an empty output folder.
    new = {path.name for path in bad.iterdir()} - set(before)
    assert new <= {"out", "run"}
    assert all(not any((bad / folder).iterdir()) for folder in new)


def test_damaged_weights(
    tmp_path: Path, picture_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for damage in ("model", "config", "pickle"):
        folder = tmp_path / damage
        folder.mkdir()
        for file in weights.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        if damage == "config":
            text = (folder / "config.json").read_text().replace('"width"', '"widht"', 1)
            (folder / "config.json").write_text(text)
        else:
            content = b"\x80\x04\x95pickle" if damage == "pickle" else b"\x00" * 100
            (folder / "model.safetensors").write_bytes(content)
        status = run(["send", str(picture_path), "--system", str(folder), "--out", str(tmp_path)])
        error = capsys.readouterr().err
        assert (status, error.count("\n")) == (2, 1)
        assert "config" in error or "safetensors" in error
