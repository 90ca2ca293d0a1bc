"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from vqlink.cli.arguments import spread
from vqlink.cli.main import run
from vqlink.config.load import every_recipe_name
from vqlink.sources.images import read_image


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = run([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_send_writes_everything_at_equal_uses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    out = tmp_path / "out"
    status, text, errors = call(
        capsys, "send", picture_path, "--system", weights, "--against", "jpeg+ldpc5g@qpsk-1/2",
        "--snr", 12, "--out", out, "--json",
    )  # fmt: skip
    assert status == 0, errors
    rows = json.loads(text)["rows"]
    assert [row["system"] for row in rows] == [str(weights), "jpeg+ldpc5g@qpsk-1/2"]
    assert {row["uses"] for row in rows} == {96 * 128 * 3 // 12}
    for row in rows:
        assert row["status"] in ("ok", "outage")
        assert row["point"] == {"snr_db": 12.0}
        assert row["channel"] == "awgn"
        assert abs(row["tx_power"] - 1) < 0.023
        assert isinstance(row["psnr"], float)
    assert rows[0]["psnr"] > 13  # mid-grey scores less: the untrained transform code carries it
    names = {path.name for path in out.iterdir()}
    files = {"sent.png", "side-by-side.png", "report.html", "rows.jsonl", "commands.json"}
    assert files <= names
    assert len(names) == 7
    assert torch.equal(read_image(out / "sent.png"), read_image(picture_path))
    commands = json.loads((out / "commands.json").read_text())
    assert commands["rows.jsonl"].startswith("vqlink ")
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="data:' in page
    assert "https://" not in page


def test_send_keeps_what_is_not_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, rows = tmp_path / "commands.json", tmp_path / "rows.jsonl"
    words = ("send", "A dog.", "--channel", "bec", "--erasure", 0, "--out", tmp_path)
    monkeypatch.setattr("sys.argv", ["vqlink", *map(str, words)])
    noted.write_text('{"mine.jsonl": "make it"}')
    assert call(capsys, *words)[0] == 0
    commands = json.loads(noted.read_text())
    assert commands.pop("rows.jsonl").startswith("vqlink send 'A dog.'")
    assert commands == {"mine.jsonl": "make it"}
    assert call(capsys, *words)[0] == 0  # its own rows are replaced
    noted.write_text('{"rows.jsonl": "vqlink evaluate"}')
    before = rows.read_bytes()
    status, _, error = call(capsys, *words)
    assert (status, error.count("\n"), rows.read_bytes()) == (2, 1, before)
    assert "name another --out" in error


def test_evaluate_adds_nothing_to_the_rows_of_send(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    """Which the next `send` would replace."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("")
    (tmp_path / "commands.json").write_text('{"rows.jsonl": "vqlink send photo.png"}')
    words = ("evaluate", weights, "--data", picture_path, "--snr", 10, "--out", rows)
    status, _, error = call(capsys, *words)
    assert (status, error.strip().count("\n"), rows.read_text()) == (2, 0, "")
    assert "name another --out" in error


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(str(tmp_path).encode() + b"/caf\xe9.yaml")
    words = [sys.executable, "-m", "vqlink.cli.main", "recipes", "cp", "jscc-awgn-1-12", name]
    done = subprocess.run(
        words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf\\udce9.yaml" in done.stdout


def test_send_prints_a_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    status, text, _ = call(
        capsys, "send", "--system", weights, "--against", "jpeg+ldpc5g@qpsk-1/3", picture_path,
        "--channel", "rayleigh", "--out", tmp_path,
    )  # fmt: skip
    assert status == 0
    for word in ("PSNR dB", "uses", "rho", "power", "status", "3072"):
        assert word in text


def test_evaluate_is_resumable_and_summarised(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_folder: Path, weights: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    words = ("evaluate", weights, "--data", picture_folder, "--snr", "0", "10", "--out", rows)
    status, text, _ = call(capsys, *words, "--samples", 2, "--json")
    assert status == 0
    first = json.loads(text)["rows"]
    psnr = [row for row in first if row["metric"] == "psnr"]
    assert [row["point"]["snr_db"] for row in psnr] == [0.0, 10.0]
    assert all(row["n"] == 2 and row["ci95"] is not None for row in psnr)
    assert psnr[1]["mean"] > psnr[0]["mean"]
    lines = rows.read_text().splitlines()
    # An interruption in the middle of a line, then the same call with one picture more.
    rows.write_text("\n".join(lines) + '\n{"system": "half')
    status, text, _ = call(capsys, *words, "--samples", 3, "--json")
    assert status == 0
    resumed = rows.read_text().splitlines()
    assert resumed[: len(lines)] == lines
    assert len(resumed) == len(lines) * 3 // 2
    assert {row["n"] for row in json.loads(text)["rows"]} == {3}


def test_report_of_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_folder: Path, weights: Path
) -> None:
    rows, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    call(capsys, "evaluate", weights, "--data", picture_folder, "--snr", 5, 9, "--out", rows)
    status, text, _ = call(capsys, "report", rows, "--out", page)
    assert status == 0
    assert "<svg" in page.read_text()
    assert str(page) in text
    status, text, _ = call(capsys, "report", rows, "--out", tmp_path / "site", "--json")
    assert status == 0
    assert Path(json.loads(text)["report"]).is_file()


def test_recipes_verbs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, text, _ = call(capsys, "recipes", "ls", "--json")
    assert status == 0
    listed = {item["name"]: item["rho"] for item in json.loads(text)}
    assert [*listed] == every_recipe_name()
    assert (listed["speech-jscc"], listed["speech-codec"]) == (0.525, None)
    copy = tmp_path / "mine.yaml"
    assert call(capsys, "recipes", "cp", "jscc-awgn-1-12", copy)[0] == 0
    status, text, _ = call(capsys, "recipes", "validate", copy)
    assert status == 0
    assert "valid" in text
    assert call(capsys, "recipes", "show", copy)[0] == 0
    status, _, error = call(capsys, "recipes", "cp", "jscc-awgn-1-12", copy)
    assert (status, error.count("\n")) == (2, 1)


def test_recipes_verbs_know_speech(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    assert call(capsys, "recipes", "cp", "speech-jscc-q64", copy)[0] == 0
    status, text, _ = call(capsys, "recipes", "validate", "speech-jscc-q64", copy, "--json")
    assert status == 0
    shipped, copied = json.loads(text)
    assert shipped["hash"] == copied["hash"]
    assert "speech-jscc-q64" in call(capsys, "recipes", "ls")[1]
    copy.write_text("kind: speech-code\nname: mine\nhiden: 3\n")
    status, _, error = call(capsys, "recipes", "validate", copy)
    assert (status, error.count("\n")) == (2, 1)


def test_zoo_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = call(capsys, "zoo", "--json")
    assert status == 0
    keys = {"name", "recipe", "paper", "source", "channel", "params", "sha256", "expected"}
    entries = json.loads(text)
    assert {entry["source"] for entry in entries} == {"images", "text", "speech"}
    for entry in entries:
        assert keys <= set(entry)
        assert call(capsys, "zoo", "show", entry["name"])[0] == 0


def test_names_in_the_zoo_can_be_copied_from_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [entry["name"] for entry in json.loads(call(capsys, "zoo", "--json")[1])]
    text = call(capsys, "zoo")[1]
    assert [name for name in names if f" {name} " not in text] == []


@pytest.mark.parametrize("words", [(), ("recipes",)])
def test_no_verb_gets_the_help_as_it_is_laid_out(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(capsys, *words)
    assert (status, err) == (0, "")
    assert out == call(capsys, *words, "--help")[1]


def test_help_is_quick_and_imports_no_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "vqlink.cli.main", "--help"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Half a second is the promise (benchmarks/README.md); a busy machine may take longer.
    assert time.perf_counter() - start < 2.5
    assert "send" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "matplotlib", "pydantic", "sionna", "PIL"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "evaluate a b --snr 0 -5 1e1 --data x",
            "evaluate a b --snr=0 --snr=-5 --snr=1e1 --data x",
        ),
        ("send x --against a b --snr 3", "send x --against=a --against=b --snr 3"),
        ("send --system a b x", "send --system=a --system=b x"),
        ("send --system a x.png --snr 1", "send --system=a x.png --snr 1"),
        ("send --seed 1 --system a x", "send --seed 1 --system=a x"),
        ("train r --set a=1 b=2 --resume", "train r --set=a=1 --set=b=2 --resume"),
        ("train --resume r --set a=1 b=2", "train --resume r --set=a=1 --set=b=2"),
        ("train --set a=1 b=2 r", "train --set=a=1 --set=b=2 r"),
        ("report --out x", "report --out x"),
    ],
)
def test_several_values_after_one_option(words: str, expected: str) -> None:
    assert spread(words.split()) == expected.split()
