"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import html
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from vqlink.cli.arguments import spread
from vqlink.cli.main import run
from vqlink.cli.options import run_folder
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


def test_send_replaces_its_own_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    noted = tmp_path / "commands.json"
    words = ("send", "A dog.", "--channel", "bec", "--erasure", 0, "--out", tmp_path)
    noted.write_text('{"mine.jsonl": "make it"}')
    for _ in range(2):
        assert call(capsys, *words)[0] == 0
        commands = json.loads(noted.read_text())
        assert commands.pop("rows.jsonl").startswith("vqlink send 'A dog.'")
        assert commands == {"mine.jsonl": "make it"}


@pytest.mark.parametrize(
    "note",
    [None, "vqlink evaluate x", "vqlink reproduce x", "python my_measurement.py", "vqlink sendit"],
)
def test_send_keeps_what_is_not_its_own(
    note: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    noted, rows = tmp_path / "commands.json", tmp_path / "rows.jsonl"
    noted.write_text(json.dumps({} if note is None else {"rows.jsonl": note}))
    rows.write_text("mine")
    words = ("send", "A dog.", "--channel", "bec", "--erasure", 0, "--out", tmp_path)
    status, _, error = call(capsys, *words)
    assert (status, error.count("\n"), rows.read_text()) == (2, 1, "mine")
    assert "name another --out" in error


@pytest.mark.parametrize("note", ["vqlink send photo.png", "python my_measurement.py"])
def test_evaluate_adds_nothing_to_rows_of_others(
    note: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    picture_path: Path,
    weights: Path,
) -> None:
    """Which the next `send` would replace, for one."""
    rows, noted = tmp_path / "rows.jsonl", tmp_path / "commands.json"
    rows.write_text("")
    noted.write_text(json.dumps({"rows.jsonl": note}))
    words = ("evaluate", weights, "--data", picture_path, "--snr", 10, "--out", rows)
    status, _, error = call(capsys, *words)
    assert (status, error.strip().count("\n"), rows.read_text()) == (2, 0, "")
    assert "name another --out" in error
    assert json.loads(noted.read_text()) == {"rows.jsonl": note}


def test_evaluate_notes_what_made_its_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_folder: Path, weights: Path
) -> None:
    rows, noted = tmp_path / "rows.jsonl", tmp_path / "commands.json"
    words = [str(w) for w in ("evaluate", weights, "--data", picture_folder, "--out", rows)]
    calls = [[*words, "--samples", n, "--metric", "psnr"] for n in ("1", "1", "2")]
    for arguments in calls:
        assert call(capsys, *arguments)[0] == 0
    lines = [shlex.join(["vqlink", *arguments]) for arguments in calls[1:]]
    assert json.loads(noted.read_text()) == {"rows.jsonl": "\n".join(lines)}
    assert call(capsys, "report", tmp_path, "--out", tmp_path / "page.html")[0] == 0
    assert all(html.escape(line) in (tmp_path / "page.html").read_text() for line in lines)
    before = rows.read_bytes()
    status, _, error = call(capsys, "send", "A dog.", "--out", tmp_path)
    assert (status, error.count("\n"), rows.read_bytes()) == (2, 1, before)


def test_evaluate_leaves_a_file_of_something_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("one line that I wrote")
    words = ("evaluate", weights, "--data", picture_path, "--out", notes)
    status, _, error = call(capsys, *words)
    assert (status, error.count("\n"), notes.read_text()) == (2, 1, "one line that I wrote")
    assert not (tmp_path / "commands.json").exists()


def test_ctrl_c_in_evaluate_says_where_the_rows_are(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    picture_folder: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vqlink.evaluation import run as module

    rows, whole = tmp_path / "rows.jsonl", module.measure

    def interrupted(*some: Any, **more: Any) -> module.Measured:
        if rows.exists():
            raise KeyboardInterrupt
        return whole(*some, **more)

    words = ("evaluate", weights, "--data", picture_folder, "--out", rows, "--json")
    with monkeypatch.context() as patched:
        patched.setattr(module, "measure", interrupted)
        status, out, error = call(capsys, *words)
    assert (status, out, error.count("\n")) == (130, "", 1)
    assert f"the rows so far are in {rows}, the same command goes on" in error
    kept = rows.read_text()
    assert call(capsys, *words)[0] == 0
    assert rows.read_text().startswith(kept)


def test_progress_is_shown_with_json_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    picture_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = {
        "transmissions": ("evaluate", weights, "--data", picture_path),
        "huffman": ("send", "A dog.", "--channel", "bec", "--erasure", 0, "--out", tmp_path),
    }
    for said, arguments in words.items():
        assert call(capsys, *arguments, "--json")[2] == ""
        monkeypatch.setenv("FORCE_COLOR", "1")
        status, out, error = call(capsys, *arguments, "--json")
        monkeypatch.delenv("FORCE_COLOR")
        assert status == 0
        assert json.loads(out)["rows"]
        assert said in error
        assert "0/100" not in error


def test_evaluate_shows_the_metrics_that_were_asked_for(
    capsys: pytest.CaptureFixture[str], picture_path: Path
) -> None:
    words = ("evaluate", "jpeg+ldpc5g@qpsk-1/3", "--data", picture_path, "--metric", "mse")
    text = call(capsys, *words, "--rho", "1/12")[1]
    assert "mse" in text
    assert "psnr" not in text
    assert "!" not in text
    text = call(capsys, *words, "--rho", "1/5000")[1]  # too little for a block: nothing is sent
    assert "0.000 !" in text
    assert "0.1 dB off the budget" in text.splitlines()[-1]


def test_names_with_brackets_are_shown_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture_path: Path, weights: Path
) -> None:
    picture, code = tmp_path / "photo [bold].png", tmp_path / "code [red]"
    shutil.copy(picture_path, picture)
    shutil.copytree(weights, code)
    _, text, _ = call(
        capsys, "send", picture, "--system", code, "--against", "jpeg+ldpc5g@qpsk-1/2",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert "photo [bold].png over awgn" in text
    assert "code [red]" in text
    _, text, _ = call(capsys, "evaluate", code, "--data", picture, "--metric", "psnr")
    assert "code [red]" in text


@pytest.mark.parametrize("kept", ["jscc-awgn-1-12", "hrvqvae-cifar10-prior", "speech-codec"])
def test_a_copied_recipe_trains_into_a_folder_of_its_own(
    kept: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "mine.yaml"
    assert call(capsys, "recipes", "cp", kept, copy)[0] == 0
    assert run_folder(str(copy)) == Path("runs/mine")
    assert run_folder(kept) == Path("runs") / kept


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
