"""What is claimed of sentences over the binary erasure channel, and what the rows say to it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from vqlink.experiments.reproduction import Claim, Row, of_all, select

BITS = (32, 16, 8)
ERASURES = tuple(tenth / 10 for tenth in range(10))
WORD_LINKS = ("huffman+ldpc5g", "huffman+turbo")
CHAR_LINKS = ("huffman-char+ldpc5g", "huffman-char+turbo")
FORCED = "teacher forcing (no result)"
BEAM = "beam of 4"
UNTRAINED = "random code, untrained"


def _at(rows: Sequence[Row], bits: int, system: str, erasure: float) -> float | None:
    found = select(rows, bits=bits, system=system, erasure=erasure)
    return float(found[0]["similarity"]) if found else None


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    claims = [_paper(rows), _floor(rows, 0.97, (0.0, 0.1, 0.2)), _floor(rows, 0.90, (0.5,))]
    claims += [_beyond_cliff(rows, bits) for bits in BITS]
    return [*claims, _before_cliff(rows), _no_cliff(rows), _forcing(rows)]


def _paper(rows: Sequence[Row]) -> Claim:
    text = "the paper: similarity of 0.99 at every erasure rate"
    found = [_at(rows, 32, "text-q32", p) for p in ERASURES]
    values = [value for value in found if value is not None]
    if len(values) < len(ERASURES):
        return Claim(text, None, "not run")
    listed = ", ".join(f"{v:.3f}" for v in values)
    return Claim(text, min(values) >= 0.985, f"Q = 32, P_e 0 to 0.9: {listed}")


def _floor(rows: Sequence[Row], least: float, points: Sequence[float]) -> Claim:
    where = " and ".join(f"{p:g}" for p in points)
    text = f"ours: Q = 32, free-running similarity of at least {least} at P_e {where}"
    values = [value for p in points if (value := _at(rows, 32, "text-q32", p)) is not None]
    if len(values) < len(points):
        return Claim(text, None, "not run")
    return Claim(text, min(values) >= least, ", ".join(f"{value:.4f}" for value in values))


def _cliff(rows: Sequence[Row], bits: int, link: str) -> float | None:
    """The first erasure rate at which a tenth of the link's sentences is lost."""
    found = sorted(select(rows, bits=bits, system=link), key=lambda row: float(row["erasure"]))
    return next((row["erasure"] for row in found if row["outages"] >= 0.1 * row["n"]), None)


def _beyond_cliff(rows: Sequence[Row], bits: int) -> Claim:
    text = f"Q = {bits}: above both word links from their cliff (a tenth lost) on"
    parts: list[str] = []
    won: list[bool | None] = []
    for link in WORD_LINKS:
        cliff = _cliff(rows, bits, link)
        gains = [_gain(rows, bits, link, p) for p in ERASURES if cliff is None or p >= cliff]
        if cliff is None:  # a link without a cliff has nothing to be judged by
            won += [None] if None in gains else []
            continue
        won += [None if gain is None else gain > 0 for gain in gains]
        listed = ", ".join("not run" if gain is None else f"{gain:+.3f}" for gain in gains)
        parts.append(f"{link} from {cliff:g} on: {listed}")
    if not won:
        return Claim(text, None, f"no link has a cliff up to {ERASURES[-1]:g}")
    return of_all(text, won, "; ".join(parts))


def _gain(rows: Sequence[Row], bits: int, link: str, erasure: float) -> float | None:
    """By how much the code's similarity is above a link's; None where one was not run."""
    ours, theirs = _at(rows, bits, f"text-q{bits}", erasure), _at(rows, bits, link, erasure)
    return None if ours is None or theirs is None else ours - theirs


def _before_cliff(rows: Sequence[Row]) -> Claim:
    text = "the paper: outperforms Huffman with turbo or LDPC everywhere"
    gains = {
        f"Q = {bits}, {link}, P_e {p:g}": _gain(rows, bits, link, p)
        for bits, link, p in itertools.product(BITS, WORD_LINKS, ERASURES)
    }
    run = [(gain, where) for where, gain in gains.items() if gain is not None]
    figures = "smallest difference {:+.3f} ({})".format(*min(run)) if run else ""
    return of_all(text, [None if g is None else g > 0 for g in gains.values()], figures)


def _no_cliff(rows: Sequence[Row]) -> Claim:
    text = "ours: a curve without a cliff (no step of 0.1 in P_e loses more than 0.25 up to 0.8)"
    steps = []
    for p, q in itertools.pairwise(ERASURES[:9]):
        one, other = _at(rows, 32, "text-q32", p), _at(rows, 32, "text-q32", q)
        if one is not None and other is not None:
            steps.append(one - other)
    if len(steps) < 8:
        return Claim(text, None, "not run")
    return Claim(text, max(steps) <= 0.25, f"Q = 32: largest step {max(steps):.3f}")


def _forcing(rows: Sequence[Row]) -> Claim:
    """What a decoder that is shown the sent tokens would claim, beside what a receiver gets."""
    text = "teacher forcing claims more than a receiver gets"
    parts, gaps, points = [], [], (0.5, 0.7, 0.9)
    for p in points:
        forced, free = _at(rows, 32, FORCED, p), _at(rows, 32, "text-q32", p)
        if forced is not None and free is not None:
            gaps.append(forced - free)
            parts.append(f"{forced:.3f} against {free:.3f} at {p:g}")
    if not gaps:
        return Claim(text, None, "not run")
    # One point where it does is enough; that it does nowhere takes all of them.
    verdict = True if max(gaps) > 0 else False if len(gaps) == len(points) else None
    return Claim(text, verdict, "Q = 32: " + ", ".join(parts))
