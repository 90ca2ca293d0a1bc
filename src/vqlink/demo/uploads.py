"""Pictures and recordings that visitors sent, in memory alone and within bounds."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from vqlink.errors import VqlinkError


@dataclass(frozen=True)
class Upload:
    """One message to send.

    Attributes:
        kind: ``picture`` or ``recording``.
        name: for messages and rows.
        message: (3, H, W) or (n,), float32.
        notes: what was changed of it, a phrase each.
        media: what the browser shows of it: (media type, bytes).
        since: when it came, by ``time.monotonic``.
    """

    kind: str
    name: str
    message: Tensor
    notes: tuple[str, ...]
    media: tuple[str, bytes]
    since: float

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.message.nbytes + len(self.media[1])


class Uploads:
    """Token -> upload; the oldest are dropped first.

    Args:
        kept_bytes: most bytes in memory.
        kept_seconds: how long one is kept.
    """

    def __init__(self, kept_bytes: int = 256_000_000, kept_seconds: float = 3600.0) -> None:
        self._limits = (kept_bytes, kept_seconds)
        self._held: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, upload: Upload) -> str:
        """Keep an upload; its token, which can't be guessed."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._held[token] = upload
            self._drop_old()
        return token

    def find(self, token: str, kind: str) -> Upload:
        """The upload of that token.

        Raises:
            VqlinkError: when there is none of that kind, or none any more.
        """
        with self._lock:
            self._drop_old()
            upload = self._held.get(token)
        if upload is None or upload.kind != kind:
            raise VqlinkError(f"this {kind} is no longer here: choose it again")
        return upload

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()

    def _drop_old(self) -> None:
        kept_bytes, kept_seconds = self._limits
        now, total = time.monotonic(), sum(upload.size for upload in self._held.values())
        for token, upload in list(self._held.items()):
            if total <= kept_bytes and now - upload.since <= kept_seconds:
                return
            total -= upload.size
            del self._held[token]
