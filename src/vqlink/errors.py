"""What vqlink raises of its own, and words for it. It imports nothing of vqlink's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NotFiniteError(ValueError):
    """Latents hold NaN or infinite values: bad input, or a training that diverged."""


class VqlinkError(Exception):
    """A user's mistake. The command line prints the message as one line and exits with 2."""


def one_line(text: object, limit: int = 160) -> str:
    """A text of whatever length and origin as one short line, for a message."""
    line = " ".join(str(text).replace("\0", "\\0").split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the nearest of the known names; empty when none is near."""
    near = difflib.get_close_matches(text, list(known), n=1) if len(text) <= 100 else None
    return f"; did you mean {near[0]}?" if near else ""
