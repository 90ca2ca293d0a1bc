"""``text-bec-fig3``: Figure 3 of paper 000, sentences over the binary erasure channel."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vqlink.channels.bits import BEC
from vqlink.config.channels import parse_channel
from vqlink.config.load import load_recipe
from vqlink.config.text import build_text_code, recipe_tokenizer
from vqlink.config.text_parts import TextSource
from vqlink.evaluation.rows import channel_noise
from vqlink.evaluation.text import (
    TextSystem,
    open_text_systems,
    teacher_forced,
)
from vqlink.experiments.cells import Cell, read_rows, run_cells
from vqlink.experiments.reproduction import Budget, Reproduction, Row, select
from vqlink.experiments.text_bec_claims import (
    BEAM,
    BITS,
    CHAR_LINKS,
    ERASURES,
    FORCED,
    UNTRAINED,
    WORD_LINKS,
    claims_of,
)
from vqlink.links.bits import LONGEST, BitsLink
from vqlink.metrics.text import TEXT_METRICS
from vqlink.protocols import Point
from vqlink.reporting.figures import Curve, curves_figure
from vqlink.sources.text import TokenBatches, open_sentences
from vqlink.systems.text_code import TextCode
from vqlink.systems.text_separation import parse_text_separation
from vqlink.zoo.text import text_entries

TEST = "data/multi30k/test.txt"
_NOTES = (
    "the receiver decodes free-running from what arrived, and learns the number of tokens from the "
    "frame's header; the digital links are given the frame's length and the block's size",
    "the digital links get the channel uses of the learned code, sentence by sentence, its header "
    "included; their blocks have a CRC-16",
    "a digital outage reads what its decided bits say up to the first impossible symbol; where the "
    "payload doesn't fit, nothing, which scores 0",
    "teacher forcing shows the decoder the sent tokens: what it would claim, and not a result",
    "similarity: cosine of all-MiniLM-L6-v2's embeddings, which ignores upper case; the paper "
    "doesn't name its net",
    "a net of 2 million weights and a vocabulary of 4,096; the paper's 768-wide one is the recipe "
    "text-q32-paper",
    "the untrained code is what training starts from: random bits for each token, decoded by "
    "maximum likelihood with the tokens' frequencies as prior",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Run what is missing of Figure 3 and set it beside the paper's claim."""
    samples = {"smoke": 4, "cpu": 200, "full": 1000}[budget]
    points = (0.0, 0.5) if budget == "smoke" else ERASURES
    path = folder / "text-bec-fig3.jsonl"
    cells: list[Cell] = []
    for bits in BITS:
        cells += [{"bits": bits, "system": name} for name in (f"text-q{bits}", FORCED)]
    cells.append({"bits": BITS[0], "system": BEAM})
    # Rows that there are count; what needs weights that there aren't is left open.
    held = {(row["bits"], row["system"]) for row in read_rows(path, ("bits", "system"))}
    cells = [c for c in cells if _trained(int(c["bits"])) or (c["bits"], c["system"]) in held]
    for links in ((UNTRAINED, *WORD_LINKS), CHAR_LINKS):
        cells += [{"bits": bits, "system": name} for bits in BITS for name in links]
    work = functools.partial(_work, samples=samples, points=points)
    return summarise(run_cells(cells, work, path, jobs=jobs, least={"n": samples}), path)


def summarise(rows: list[Row], path: Path) -> Reproduction:
    """Table, claims and plot of the rows that there are."""
    return Reproduction(
        name="text-bec-fig3",
        title="000, Fig. 3: sentences over the binary erasure channel, Multi30k test",
        columns=("Q", "system", "P_e", "similarity", "ci95", "BLEU-1", "BLEU-4", "tokens right",
                 "whole", "outages", "uses", "n"),
        table=tuple(_table(rows)),
        claims=tuple(claims_of(rows)),
        rows=path,
        plots=_plots(rows, path.parent),
        notes=_NOTES,
    )  # fmt: skip


def _weights(bits: int) -> str:
    """Zoo name, or the folder of the run in ``runs/`` while it has none."""
    name = f"text-q{bits}"
    folder = Path("runs") / name / "weights"
    known = any(entry.name == name for entry in text_entries())
    return str(folder) if not known and folder.is_dir() else name


def _trained(bits: int) -> bool:
    name = f"text-q{bits}"
    return Path(_weights(bits)).is_dir() or any(entry.name == name for entry in text_entries())


def _work(cell: Cell, *, samples: int, points: Sequence[float]) -> list[Row]:
    """One system at one Q: a row for each erasure probability."""
    name, bits = str(cell["system"]), int(cell["bits"])
    sentences = open_sentences(TEST)
    sentences = [sentences[i * len(sentences) // samples] for i in range(samples)]
    if name in (UNTRAINED, *WORD_LINKS, *CHAR_LINKS):
        code = untrained(bits)
        if name == UNTRAINED:
            return _measured(TextSystem(name, code), sentences, points)
        link = parse_text_separation(name, BitsLink(BEC()), code.sentence_uses)
        return _measured(TextSystem(name, link), sentences, points)
    (system,) = open_text_systems([_weights(bits)], parse_channel("bec"))
    assert isinstance(system.transceiver, TextCode)
    if name == FORCED:
        return [_forced(system, sentences, value) for value in points]
    if name == BEAM:
        system.transceiver.beams = 4
    return _measured(system, sentences, points)


def untrained(bits: int) -> TextCode:
    """The start of a code's training: a random code, decoded by maximum likelihood.

    Its vocabulary is made as the trained code's was. So it has the same pieces, and a sentence the
    same channel uses, which the digital links get.
    """
    recipe = load_recipe(f"text-q{bits}")
    assert isinstance(recipe.source, TextSource)
    code = build_text_code(recipe).eval()
    code.tokenizer = recipe_tokenizer(recipe)
    source = TokenBatches(
        open_sentences(recipe.source.train),
        code.tokenizer,
        recipe.source.vocabulary,
        longest=LONGEST,
        seed=0,
    )
    code.learn_statistics(source.lengths, source.counts())
    return code


def _measured(system: TextSystem, sentences: Sequence[str], points: Sequence[float]) -> list[Row]:
    """All points in one transmission, since long batches decode several times as fast.

    The noise is that of :func:`vqlink.evaluation.text.send_text`.
    """
    started, count = time.monotonic(), len(sentences)
    sent = system.transceiver.transmit(
        [*sentences] * len(points),
        Point(probability=torch.tensor(points).repeat_interleave(count)),
        generator=[channel_noise(0, p, 0, str(i)) for p in points for i in range(count)],
    )
    rows = []
    for place, erasure in enumerate(points):
        here = slice(place * count, (place + 1) * count)
        read = sent.received[here]
        found = {metric.name: metric.function(read, sentences) for metric in TEXT_METRICS}
        stats = {key: stat[here] for key, stat in sent.stats.items()}
        row: Row = {"erasure": erasure}
        row |= {name: float(values.mean()) for name, values in found.items()}
        row |= {
            f"{name}_ci95": 1.96 * float(values.std()) / count**0.5
            for name, values in found.items()
        }
        row |= {key: float(stat.mean()) for key, stat in stats.items()}
        if "length_error" in stats:
            row["wrong_lengths"] = int((stats["length_error"] != 0).sum())
        rows.append(
            {
                **row,
                "outages": int(sent.outage[here].sum()),
                "uses": float(sent.uses[here].double().mean()),
                "tx_power": float(sent.tx_power[here].mean()),
                "n": count,
                "seed": 0,
                "data": TEST,
                "weights": system.weights,
                "recipe": system.recipe,
            }
        )
    seconds = round(time.monotonic() - started, 1)
    return [{**row, "cell_seconds": seconds} for row in rows]


def _forced(system: TextSystem, sentences: Sequence[str], erasure: float) -> Row:
    assert isinstance(system.transceiver, TextCode)
    read, perplexity = teacher_forced(system.transceiver, sentences, Point(probability=erasure))
    found = {metric.name: metric.function(read, sentences) for metric in TEXT_METRICS}
    return {
        "erasure": erasure,
        **{name: float(values.mean()) for name, values in found.items()},
        "perplexity": perplexity,
        "n": len(sentences),
        "seed": 0,
        "data": TEST,
        "weights": system.weights,
        "recipe": system.recipe,
    }


def _table(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    table = []
    for row in rows:
        ci95, uses = row.get("similarity_ci95"), row.get("uses")
        table.append((
            row["bits"], row["system"], row["erasure"], round(row["similarity"], 4),
            None if ci95 is None else round(ci95, 4), round(row["bleu1"], 4),
            round(row["bleu4"], 4), round(row["token_accuracy"], 4),
            round(row["sentence_accuracy"], 4), row.get("outages"),
            None if uses is None else round(uses, 1), row["n"],
        ))  # fmt: skip
    return table


def _plots(rows: Sequence[Row], folder: Path) -> tuple[Path, ...]:
    panels = []
    for bits in BITS:
        curves: dict[str, Curve] = {}
        for system in (f"text-q{bits}", *WORD_LINKS, *CHAR_LINKS, FORCED, UNTRAINED):
            found = select(rows, bits=bits, system=system)
            found.sort(key=lambda row: float(row["erasure"]))
            line = [(r["erasure"], r["similarity"], r.get("similarity_ci95", 0.0)) for r in found]
            if line:
                curves[system] = line
        if curves:
            panels.append((f"similarity, Q = {bits}", curves))
    if not panels:
        return ()
    path = folder / "text-bec-fig3.svg"
    path.write_text(curves_figure(panels, "erasure probability"), encoding="utf-8")
    return (path,)
