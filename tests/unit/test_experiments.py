"""Cells, claims and the two NSVQ experiments, on a small scale."""

from __future__ import annotations

import functools
import json
import math
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import smooth_picture
from vqlink.cli.main import run
from vqlink.errors import NotFiniteError, VqlinkError
from vqlink.experiments import nsvq_table1, nsvq_table2
from vqlink.experiments.catalogue import entries, find
from vqlink.experiments.cells import Cell, read_rows, run_cells
from vqlink.experiments.nsvq_images import ImageRun, build, measure, train
from vqlink.experiments.nsvq_toys import ToyRun, draw, error, fit
from vqlink.experiments.reproduction import Row, of_all, paper_figures, select, spread

CELLS: list[Cell] = [{"bits": b, "seed": s} for b in (1, 2) for s in (0, 1)]


def square(cell: Cell) -> list[Row]:
    return [{"value": int(cell["bits"]) ** 2, "pass": n} for n in range(2)]


def explode(cell: Cell) -> list[Row]:
    if cell["bits"] == 2:
        raise KeyboardInterrupt
    return square(cell)


def test_cells_that_were_finished_are_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, explode, path, progress=False)
    assert len(read_rows(path)) == 4
    with path.open("a") as file:
        file.write('{"bits": 2, "see')  # the machine died in the middle of a line
    ran: list[Cell] = []

    def count(cell: Cell) -> list[Row]:
        ran.append(cell)
        return square(cell)

    rows = run_cells(CELLS, count, path, progress=False)
    assert ran == CELLS[2:]
    assert rows == read_rows(path)
    assert len(rows) == 8
    assert run_cells(CELLS, explode, path, progress=False) == rows


def test_without_jobs_nothing_runs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert run_cells(CELLS, explode, path, jobs=0, progress=False) == []
    rows = run_cells(CELLS[:1], square, path, progress=False)
    assert run_cells(CELLS, explode, path, jobs=0, progress=False) == rows


def test_rows_of_a_smaller_budget_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def sized(cell: Cell, samples: int) -> list[Row]:
        return [{**row, "samples": samples} for row in square(cell)]

    run_cells(CELLS[:1], functools.partial(sized, samples=200), path, progress=False)
    for jobs in (0, 1):
        with pytest.raises(VqlinkError, match=r"smaller --budget \(samples 200, not 1000\)"):
            run_cells(CELLS, square, path, jobs=jobs, progress=False, least={"samples": 1000})
    assert len(run_cells(CELLS, square, path, jobs=0, progress=False, least={"samples": 9})) == 2


def test_rows_of_other_weights_are_refused(tmp_path: Path) -> None:
    """Else a retrained code would be shown with its old figures."""
    path = tmp_path / "rows.jsonl"

    def weighed(cell: Cell) -> list[Row]:
        return [{**row, "weights": "old" if cell["bits"] == 1 else None} for row in square(cell)]

    rows = run_cells(CELLS, weighed, path, progress=False, weights=lambda _: "old")
    for now in ("old", None):
        assert run_cells(CELLS, explode, path, progress=False, weights=lambda _, n=now: n) == rows
    with pytest.raises(VqlinkError, match="other weights of bits=1-seed=0"):
        run_cells(CELLS, square, path, jobs=0, progress=False, weights=lambda _: "new")


@pytest.mark.parametrize(
    ("cells", "held"),
    [([True, True], True), ([True, False, None], False), ([True, None], None), ([None], None),
     ([], None)],
)  # fmt: skip
def test_a_claim_of_all(cells: list[bool | None], held: bool | None) -> None:
    assert of_all("every one", cells, "").held is held


def test_processes_share_the_cells(tmp_path: Path) -> None:
    rows = run_cells(CELLS, square, tmp_path / "rows.jsonl", jobs=2, progress=False)
    assert sorted((r["bits"], r["seed"], r["pass"]) for r in rows) == [
        (b, s, n) for b in (1, 2) for s in (0, 1) for n in (0, 1)
    ]


def slow_or_failing(cell: Cell, log: Path) -> list[Row]:
    """The first cell fails while the second is at work; whatever starts later notes it."""
    (log / f"{cell['bits']}-{cell['seed']}").touch()
    if cell["seed"] == 0 and cell["bits"] == 1:
        time.sleep(0.3)
        raise NotFiniteError("the latents hold NaN")
    time.sleep(1.0)
    return square(cell)


def test_a_failing_cell_ends_the_run_and_keeps_what_others_finish(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    more: list[Cell] = [*CELLS, *({"bits": 3, "seed": s} for s in range(4))]
    work = functools.partial(slow_or_failing, log=tmp_path)
    with pytest.raises(VqlinkError, match="bits=1-seed=0: the latents hold NaN"):
        run_cells(more, work, path, jobs=2, progress=False)
    assert {(row["bits"], row["seed"]) for row in read_rows(path)} == {(1, 1)}
    assert len(list(tmp_path.glob("?-?"))) == 2  # nothing started after it


def dies(cell: Cell) -> list[Row]:
    os.kill(os.getpid(), signal.SIGKILL)
    return square(cell)


def test_a_killed_process_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VqlinkError, match="its process was killed"):
        run_cells(CELLS, dies, tmp_path / "rows.jsonl", jobs=2, progress=False)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_figure_that_is_not_finite_is_one_line(tmp_path: Path, jobs: int) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(VqlinkError, match="bits=1-seed=0: a figure is not finite"):
        run_cells(CELLS[:1], nothing_finite, path, jobs=jobs, progress=False)
    assert read_rows(path) == []


def nothing_finite(cell: Cell) -> list[Row]:
    return [{"value": 1.0}, {"value": math.nan}]


def test_a_last_row_without_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = run_cells(CELLS[:1], square, path, progress=False)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert run_cells(CELLS[:2], square, path, progress=False)[:2] == first


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"bits": 1}\nnonsense\n{"bits": 2}\n')
    with pytest.raises(VqlinkError, match="line 2"):
        read_rows(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(VqlinkError, match="not a file of result rows"):
        read_rows(path)


@pytest.mark.parametrize("row", ['{"a": 1}', "[1, 2]", '{"bits": 1}'])
def test_rows_of_something_else_are_an_error(tmp_path: Path, row: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(VqlinkError, match="line 1: not a row of this experiment"):
        run_cells(CELLS, square, path, jobs=0)
    assert path.read_text() == row + "\n"


@pytest.mark.parametrize("name", sorted(entries()))
def test_nothing_measured_is_a_table_without_rows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", name, "--jobs", "0", "--out", str(tmp_path / "new"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {claim["held"] for claim in document["claims"]} <= {None}
    # Figures 6 and 11 of 001 are in the tables of 5 and 10.
    assert (tmp_path / "new" / f"{document['experiment']}.json").is_file()


def test_the_paper_s_tables_are_whole() -> None:
    table1, table2 = paper_figures("002", "table1"), paper_figures("002", "table2")
    assert len(table1) == 3 * 2 * 4 * 6
    assert len(table2) == 4 * 4 * 3
    (cell,) = select(
        table1, bits=11, updates=15_000, metric="psnr", method="nsvq", replacement=True
    )
    assert (cell["mean"], cell["std"]) == (25.2403, 0.0476)
    (cell,) = select(table2, shape="moons", bits=12, method="minibatch-kmeans")
    assert (cell["mean"], cell["std"]) == (63.43e-5, 1.73e-6)


def test_spread_is_mean_and_sample_deviation() -> None:
    found = spread([1.0, 3.0])
    assert found is not None
    assert (found.mean, found.n) == (2.0, 2)
    assert found.std == pytest.approx(2**0.5)
    assert spread([]) is None


@pytest.mark.parametrize("method", ["ste", "ste-replaced", "ema", "nsvq", "minibatch-kmeans"])
def test_toy_codebooks_learn(method: str) -> None:
    data = draw("blobs", 20_000)
    run_ = ToyRun("blobs", 4, method, 0, epochs=25, points=20_000)  # type: ignore[arg-type]
    codebook, seconds = fit(run_, data)
    assert seconds > 0
    start = error(data, torch.randn(16, 2, generator=torch.Generator().manual_seed(0)))[0]
    # Three clusters of deviation 1: 16 codewords well placed leave about 0.3.
    limit = 0.45 if method in ("nsvq", "ste-replaced", "minibatch-kmeans") else start
    assert error(data, codebook)[0] < limit


def test_toy_data_have_the_scale_of_the_paper() -> None:
    """The error of 8-bit MiniBatchKMeans codebooks is within a fifth of the paper's."""
    for cell in select(paper_figures("002", "table2"), method="minibatch-kmeans", bits=8):
        data = draw(cell["shape"], 50_000)
        codebook, _ = fit(ToyRun(cell["shape"], 8, "minibatch-kmeans", 0, epochs=5), data)
        assert error(data, codebook)[0] == pytest.approx(cell["mean"], rel=0.2), cell["shape"]


def toy_rows(nsvq: float, dead: int = 0) -> list[Row]:
    errors = {"nsvq": nsvq, "minibatch-kmeans": 1.0, "ste": 2.0, "ste-replaced": 1.0, "ema": 3.0}
    return [
        {"shape": s, "bits": b, "method": m, "seed": 0, "mse": e, "dead": dead, "seconds": e}
        for s in nsvq_table2.SHAPES
        for b in nsvq_table2.BITS
        for m, e in errors.items()
    ]


def test_claims_follow_from_the_rows() -> None:
    good = [c.held for c in nsvq_table2._claims(toy_rows(0.9), nsvq_table2.BITS)]
    bad = [c.held for c in nsvq_table2._claims(toy_rows(1.1, dead=1), nsvq_table2.BITS)]
    assert good == [True, True, True, True, True]
    assert bad == [False, True, False, False, False]
    part = [row for row in toy_rows(0.9) if row["bits"] == 6]
    assert [c.held for c in nsvq_table2._claims(part, nsvq_table2.BITS)][:4] == [None] * 4


def image_rows(nsvq: float, seeds: int = 3) -> list[Row]:
    rows = []
    for bits in nsvq_table1.BITS:
        for seed in range(seeds):
            for method, replaced in (*nsvq_table1.VARIANTS, ("diveq", True)):
                mine = method == "nsvq" and replaced
                psnr = 20 + bits / 2 + (nsvq if mine else 0) + seed * (0.01 if mine else 0.1)
                rows.append(
                    {
                        "bits": bits, "method": method, "replacement": replaced, "seed": seed,
                        "kind": "result", "updates": 15_000, "psnr": psnr, "ssim": 0.8,
                        "perplexity": 9.0,
                    }
                )  # fmt: skip
    return rows


def test_claims_about_images(tmp_path: Path) -> None:
    held = [c.held for c in nsvq_table1.summarise(image_rows(1.0), tmp_path / "r").claims]
    assert held == [True, True, True, True, False]
    held = [c.held for c in nsvq_table1.summarise(image_rows(-1.0), tmp_path / "r").claims]
    assert held == [False, True, False, True, True]
    some = [row for row in image_rows(1.0) if row["bits"] != 9]
    held = [c.held for c in nsvq_table1.summarise(some, tmp_path / "r").claims]
    assert held == [None, None, None, None, False]


@pytest.mark.parametrize(("method", "replaced"), [("nsvq", True), ("ste", False), ("ema", True)])
def test_an_image_run_yields_rows_of_hard_codes(method: str, replaced: bool) -> None:
    images = torch.stack([(smooth_picture(32, 32, seed=s) * 255).byte() for s in range(8)])
    settings = ImageRun(3, method, replaced, 0, updates=(4, 8), finetune=2)  # type: ignore[arg-type]
    torch.set_num_threads(1)
    rows = list(train(settings, images, images[:4], log_every=4))
    kinds = [(row["kind"], row["updates"], row.get("finetuned")) for row in rows]
    assert kinds == [
        ("log", 4, None), ("result", 4, None), ("log", 8, None), ("result", 8, None),
        ("result", 8, 2),
    ]  # fmt: skip
    assert json.loads(json.dumps(rows)) == rows


def test_what_is_measured_is_what_the_hard_codes_give() -> None:
    system = build(ImageRun(4, "nsvq", True, 0)).train()
    sent = torch.stack([(smooth_picture(32, 32, seed=s) * 255).byte() for s in range(4)])
    first, again = measure(system, sent), measure(system, sent)
    assert first == again, "a stochastic path would differ"
    assert system.training
    received = system.reconstruct(sent.float() / 255)
    error_ = (received.mul(255).round() - sent.float()).square().mean(dim=(1, 2, 3))
    want = (10 * torch.log10(255**2 / error_)).mean().item()
    assert first["psnr"] == pytest.approx(want, abs=1e-3)


def test_the_catalogue_and_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(entries()) >= {"nsvq-table1", "nsvq-table2"}
    with pytest.raises(VqlinkError, match="did you mean nsvq-table2"):
        find("nsvq-tabel2")
    assert run(["reproduce", "--json"]) == 0
    assert "nsvq-table1" in {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert run(["reproduce", "nsvq-table9"]) == 2
    assert run(["reproduce", "nsvq-table2", "--budget", "huge"]) == 2
    (tmp_path / "nsvq-table2.jsonl").write_text("old")
    arguments = ["reproduce", "nsvq-table2", "--budget", "smoke", "--out", str(tmp_path), "--json"]
    assert run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["table"]) == 4 * 2 * 5
    assert {"text", "held", "figures"} == set(document["claims"][0])
    assert all(Path(path).read_text().startswith("<?xml") for path in document["plots"])
    assert (tmp_path / "nsvq-table2.jsonl").read_text() == "old", "smoke rows mix with nothing"
