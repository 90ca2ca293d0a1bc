"""The one exception that is meant for a user's eyes. It imports nothing."""

from __future__ import annotations


class VqlinkError(Exception):
    """A user's mistake. The command line prints the message as one line and exits with 2."""
