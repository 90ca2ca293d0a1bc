"""Datagrams over UDP: paced sending, and receiving until a picture is whole or time is up."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vqlink.errors import VqlinkError

_BUFFER = 4 << 20  # asked of the system, which may give less
_LARGEST = 1 << 16
_LINGER = 0.02  # seconds in which a refusal of the last datagrams comes back
_BURST = 8  # datagrams between two looks at the clock


@dataclass(frozen=True)
class Address:
    """Where datagrams go or are awaited; a host by name or number."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """``127.0.0.1:5005``, ``localhost:5005`` or ``[::1]:5005``; port 0 is any free one.

    Raises:
        VqlinkError: for anything else.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    fits = colon and bare and 0 <= number <= 0xFFFF and (":" not in bare or bare != host)
    if not fits or not bare.isprintable() or any(c.isspace() for c in bare) or len(bare) > 253:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise VqlinkError(f"--udp is written HOST:PORT, as in 127.0.0.1:5005, not {shown!r}")
    return Address(bare, number)


def send_datagrams(
    datagrams: Sequence[bytes], address: Address, *, bits_per_second: float
) -> float:
    """Send datagrams at an even pace; returns the seconds that it took.

    Raises:
        VqlinkError: when the host is unknown or unreachable, or refuses: nothing listens there.
    """
    if address.port == 0:
        raise VqlinkError(f"--udp {address}: nothing can be sent to port 0")
    family, place = _resolved(address)
    sent = 0
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(place)
            start, bits = time.monotonic(), 0
            for sent, datagram in enumerate(datagrams):
                if sent % _BURST == 0:
                    time.sleep(max(0.0, bits / bits_per_second - (time.monotonic() - start)))
                sender.send(datagram)
                bits += 8 * len(datagram)
            seconds = time.monotonic() - start
            time.sleep(_LINGER)
            failed = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                raise OSError(failed, "")
        except ConnectionRefusedError:
            raise VqlinkError(_refused(address, sent, len(datagrams))) from None
        except OSError as error:
            if error.errno == ConnectionRefusedError().errno:
                raise VqlinkError(_refused(address, sent, len(datagrams))) from None
            raise VqlinkError(f"cannot send to {address}: {error.strerror or error}") from None
    return seconds


def listen(address: Address) -> socket.socket:
    """A socket bound to exactly this address.

    Raises:
        VqlinkError: when that isn't possible: in use, not of this machine, unknown.
    """
    family, place = _resolved(address)
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    try:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        receiver.bind(place)
    except OSError as error:
        receiver.close()
        raise VqlinkError(f"cannot listen at {address}: {error.strerror or error}") from None
    return receiver


def receive_datagrams(
    receiver: socket.socket,
    take: Callable[[bytes], bool],
    *,
    done: Callable[[], bool],
    seconds: float,
    silence: float,
) -> bool:
    """Hand every datagram to ``take`` until ``done``; returns whether it is.

    Args:
        take: returns whether the datagram brought something new.
        seconds: the longest that this takes.
        silence: it ends so many seconds after the last new datagram; there is no such limit
            before the first.
    """
    limit = time.monotonic() + seconds
    ends = limit
    while not done():
        left = min(ends, limit) - time.monotonic()
        if left <= 0:
            return False
        receiver.settimeout(left)
        try:
            datagram = receiver.recv(_LARGEST)
        except TimeoutError:
            return False
        except ConnectionError:  # on some systems, word of an earlier datagram's fate
            continue
        if take(datagram):
            ends = time.monotonic() + silence
    return True


def _resolved(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise VqlinkError(f"{address}: {reason or error}") from None
    family, _, _, _, place = found[0]
    return family, place  # type: ignore[return-value]


def _refused(address: Address, sent: int, total: int) -> str:
    return (
        f"nothing listens at {address} (any more): {sent + 1} of {total} packets went out; start "
        "vqlink rx --udp first"
    )
