"""Arbitrary and mutated bytes for parsers, with bounds on time and memory."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqlink.protocols import VqlinkError

SECONDS = 1.0
"""Of this process's time that one input may take."""
MEMORY = 256 << 20
"""Bytes that the peak may rise above where it stood before the first input."""

TOKENS = (
    b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"1e400000", b"9" * 5000, b"null", b"true", b'""',
    b"[]", b"{}", b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"\x00", b"\xff\xfe", b"\xed\xa0\x80",
    b"~", b"&a [*a]", b"*a", b"<<: *a", b"!!binary x", b"!!float x", b"2020-99-99", b"? [1]",
    b"1:2:3", b"- - -", b"\n", b"\t", b"/", b"..", b"1/0", b"\x00\x00\x01", b"\xff\xd8\xff",
)  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """What takes bytes from outside.

    Attributes:
        parse: raises nothing but ``allowed``.
        seeds: inputs that are taken, or nearly.
        allowed: the documented exception.
        slow: cases of the slow form.
    """

    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]
    allowed: type[Exception]
    slow: int


@st.composite
def _edited(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from((0, 1, 2, 4, 16, 64)))
        match draw(st.sampled_from(("replace", "insert", "token", "cut", "repeat", "bit", "drop"))):
            case "replace":
                new = draw(st.binary(min_size=length, max_size=length))
                data = data[:at] + new + data[at + length :]
            case "insert":
                data = data[:at] + draw(st.binary(max_size=16)) + data[at:]
            case "token":
                data = data[:at] + draw(st.sampled_from(TOKENS)) + data[at + length :]
            case "cut":
                data = data[:at]
            case "repeat":
                data = data[:at] + data[at : at + length] * 3 + data[at:]
            case "bit" if data:
                data = data[:at] + bytes([data[at] ^ 1 << (length % 8)]) + data[at + 1 :]
            case _:
                data = data[:at] + data[at + length :]
    return data


def _values_of(tree: object) -> st.SearchStrategy[object]:
    """A JSON document of this shape in which any value may be another."""
    leaf = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.lists(st.integers(), max_size=3), st.just({}), st.just(10**400),
    )  # fmt: skip
    if isinstance(tree, dict):
        whole: st.SearchStrategy[object] = st.fixed_dictionaries(
            {key: _values_of(value) for key, value in tree.items()}
        )
        return st.one_of(whole, whole, whole, leaf)
    if isinstance(tree, list):
        return st.one_of(st.just(tree), st.just(tree), leaf)
    return st.one_of(*[st.just(tree)] * 20, leaf)


def documents(tree: object) -> st.SearchStrategy[bytes]:
    """Well-formed JSON of a document's shape, with wrong values here and there."""
    return _values_of(tree).map(lambda value: json.dumps(value).encode())


def inputs(parser: Parser) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, edited seeds, and, of JSON seeds, documents of their shape."""
    parts = [st.binary(max_size=300), _edited(parser.seeds), _edited(parser.seeds)]
    for seed in parser.seeds[:1]:
        try:
            parts += [documents(json.loads(seed))]
        except ValueError:
            continue
    return st.one_of(parts)


def fuzz(parser: Parser, examples: int, *, derandomize: bool) -> None:
    """Run a parser on so many inputs; raises AssertionError with the shortest that fails."""
    for seed in parser.seeds:
        _run(parser, seed)
    before = _reset_peak()

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(parser))
    def holds(data: bytes) -> None:
        _run(parser, data)

    holds()
    risen = _peak() - before
    assert risen < MEMORY, f"the peak rose by {risen >> 20} MiB"


def _run(parser: Parser, data: bytes) -> None:
    start = time.process_time()
    said = ""
    try:
        parser.parse(data)
    except parser.allowed as error:
        said = str(error)
    taken = time.process_time() - start
    assert parser.allowed is not VqlinkError or ("\n" not in said and len(said) < 1000), said
    assert taken < SECONDS, f"{taken:.2f} s for {data[:80]!r}"


def _reset_peak() -> int:
    """Forget the process's peak where the system allows it; returns the present one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
