"""The one exception that is meant for a user's eyes. It imports nothing."""

from __future__ import annotations


class VqlinkError(Exception):
    """A user's mistake. The command line prints the message as one line and exits with 2."""


def one_line(text: object, limit: int = 160) -> str:
    """A text of whatever length and origin as one short line, for a message."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
