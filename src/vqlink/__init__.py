"""vqlink: learned, vector-quantised joint source-channel coding beside real digital links.

    >>> from vqlink import Point, load
    >>> codec = load("jscc-q64-awgn-1-12")

Importing vqlink is cheap; torch comes with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqlink.protocols import Point, Transmission, VqlinkError
    from vqlink.zoo.catalogue import load
    from vqlink.zoo.text import load_text

__version__ = "0.1.0"
__all__ = ["Point", "Transmission", "VqlinkError", "__version__", "load", "load_text"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from vqlink.zoo.catalogue import load

        return load
    if name == "load_text":
        from vqlink.zoo.text import load_text

        return load_text
    if name in ("Point", "Transmission", "VqlinkError"):
        from vqlink import protocols

        return getattr(protocols, name)
    raise AttributeError(f"module 'vqlink' has no attribute {name!r}")
