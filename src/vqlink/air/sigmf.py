"""Recordings in SigMF 1.2 (sigmf.org): NAME.sigmf-meta (JSON) beside NAME.sigmf-data (samples).

One channel of complex samples, ``cf32_le`` (float32 pairs) or ``ci16_le`` (int16 pairs, where
32768 is 1). The test suite holds what is written to the reference package ``sigmf``.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vqlink.air.arrays import Complex
from vqlink.errors import VqlinkError
from vqlink.units import from_db

VERSION = "1.2.0"
DATA, META = ".sigmf-data", ".sigmf-meta"
NAMESPACE = "vqlink"
_DTYPES: dict[str, np.dtype[Any]] = {"cf32_le": np.dtype("<f4"), "ci16_le": np.dtype("<i2")}
DATATYPES = tuple(_DTYPES)
_FULL_SCALE, _HEADROOM = 32768.0, math.sqrt(from_db(-1.0))
_CHUNK = 1 << 20
_MAX_META = 16 << 20


@dataclass(frozen=True)
class Recording:
    """Samples of a file, read as they are needed.

    Attributes:
        sample_rate: in samples a second; None where the meta file doesn't say.
        datatype: of the file.
        extra: the meta file's ``vqlink:`` values, by their names without it.
    """

    sample_rate: float | None
    datatype: str
    extra: Mapping[str, float] = field(default_factory=dict)
    _pairs: npt.NDArray[Any] = field(default_factory=lambda: np.empty((0, 2), np.float32))

    @classmethod
    def of(cls, samples: Complex, sample_rate: float) -> Recording:
        """A recording in memory, as ``cf32_le``."""
        pairs = np.stack([samples.real, samples.imag], axis=1).astype(np.float32)
        return cls(sample_rate, "cf32_le", {}, pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def read(self, start: int, count: int) -> Complex:
        """(count,) complex128 from sample ``start`` on; zeros outside the recording."""
        samples = np.zeros(count, dtype=np.complex128)
        low, high = max(start, 0), min(start + count, len(self))
        if low < high:
            part = np.asarray(self._pairs[low:high], dtype=np.float64)
            scale = _FULL_SCALE if self.datatype == "ci16_le" else 1.0
            samples[low - start : high - start] = (part[:, 0] + 1j * part[:, 1]) / scale
        return samples


def data_path(path: Path) -> Path:
    """The data file of a recording that is named by its data file, meta file or neither's ending.

    Raises:
        VqlinkError: for another ending that SigMF has, or a file of another kind.
    """
    if path.suffix in (DATA, META):
        return path.with_suffix(DATA)
    if path.suffix in (".sigmf", ".sigmf-collection"):
        raise VqlinkError(f"{path}: archives and collections are not read; unpack it")
    if path.suffix:
        raise VqlinkError(f"{path}: a recording's name ends in {DATA}")
    return path.with_name(path.name + DATA)


def read_recording(path: Path) -> Recording:
    """Open a recording and check all of it: format, length, hash, finite samples.

    Raises:
        VqlinkError: when it is missing, damaged, of a datatype that isn't read, or holds NaN.
    """
    data = data_path(path)
    meta_path = data.with_suffix(META)
    meta = _read_meta(meta_path)
    datatype = meta.get("core:datatype")
    if not isinstance(datatype, str) or datatype not in _DTYPES:
        raise VqlinkError(
            f"{meta_path}: datatype {str(datatype)[:40]!r} is not read, only {', '.join(_DTYPES)}"
        )
    if meta.get("core:num_channels", 1) != 1:
        raise VqlinkError(f"{meta_path}: recordings of one channel are read, not of several")
    rate = _number(meta.get("core:sample_rate"))
    if "core:sample_rate" in meta and not (rate and rate > 0):
        raise VqlinkError(f"{meta_path}: core:sample_rate must be a number above 0")
    pairs = _map_pairs(data, _DTYPES[datatype])
    _check_samples(data, pairs, meta.get("core:sha512"))
    extra = {
        key.partition(":")[2]: number
        for key, value in meta.items()
        if key.startswith(f"{NAMESPACE}:") and (number := _number(value)) is not None
    }
    return Recording(rate, datatype, extra, pairs)


def write_recording(
    path: Path,
    samples: Complex,
    *,
    sample_rate: float | None,
    datatype: str,
    description: str,
    extra: Mapping[str, float] | None = None,
    frames: tuple[tuple[int, int], ...] = (),
) -> float:
    """Write both files of a recording, the meta file last.

    An earlier recording of that name stays whole until the new one is.

    Args:
        path: ends in ``.sigmf-data``.
        samples: (n,) complex; for ``ci16_le`` they are scaled so that the largest value of either
            part lies 1 dB under full scale.
        extra: values of the ``vqlink:`` namespace. ``symbol_energy``, where given, is scaled along.
        frames: (first sample, count) of each frame, noted as annotations.

    Returns:
        The factor that samples were scaled by.

    Raises:
        VqlinkError: for another ending, or a place where nothing can be written.
    """
    if path.suffix != DATA:
        raise VqlinkError(f"{path}: a recording is written to a name that ends in {DATA}")
    dtype = _DTYPES[datatype]
    pairs = np.stack([samples.real, samples.imag], axis=1)
    scale = 1.0
    if datatype == "ci16_le":
        largest = float(np.abs(pairs).max(initial=0.0))
        scale = _HEADROOM / largest if largest > 0 else 1.0
        pairs = np.rint(pairs * scale * _FULL_SCALE)
    stored = pairs.astype(dtype).tobytes()
    values = dict(extra or {})
    if "symbol_energy" in values:
        values["symbol_energy"] *= scale**2
    meta = {
        "global": {
            "core:datatype": datatype,
            **({} if sample_rate is None else {"core:sample_rate": sample_rate}),
            "core:version": VERSION,
            "core:num_channels": 1,
            "core:sha512": hashlib.sha512(stored).hexdigest(),
            "core:description": description,
            "core:recorder": "vqlink",
            "core:extensions": [{"name": NAMESPACE, "version": "1.0.0", "optional": True}],
            **{f"{NAMESPACE}:{name}": value for name, value in values.items()},
        },
        "captures": [{"core:sample_start": 0}],
        "annotations": [
            {"core:sample_start": start, "core:sample_count": count, "core:label": "frame"}
            for start, count in frames
        ],
    }
    meta_path = path.with_suffix(META)
    try:
        with tempfile.TemporaryDirectory(prefix=".vqlink-", dir=path.parent) as temporary:
            new_data, new_meta = Path(temporary, "data"), Path(temporary, "meta")
            new_data.write_bytes(stored)
            new_meta.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
            meta_path.unlink(missing_ok=True)  # never an old meta file beside new data
            new_data.replace(path)
            new_meta.replace(meta_path)
    except OSError as error:
        raise VqlinkError(f"{path}: cannot be written ({error.strerror or error})") from None
    return scale


def _read_meta(path: Path) -> dict[str, Any]:
    """The ``global`` object of a meta file."""
    try:
        if path.stat().st_size > _MAX_META:
            raise VqlinkError(f"{path}: is too large for a SigMF meta file")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise VqlinkError(f"{path}: no such file; a recording has it beside its {DATA}") from None
    except OSError as error:
        raise VqlinkError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise VqlinkError(f"{path}: is not a SigMF meta file: no JSON") from None
    found = document.get("global") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise VqlinkError(f"{path}: is not a SigMF meta file: it has no global object")
    return found


def _map_pairs(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    try:
        size = path.stat().st_size
        if size == 0:
            raise VqlinkError(f"{path}: holds no samples")
        if size % (2 * dtype.itemsize):
            raise VqlinkError(f"{path}: its {size} bytes are no whole number of complex samples")
        return np.memmap(path, dtype=dtype, mode="r").reshape(-1, 2)
    except FileNotFoundError:
        raise VqlinkError(f"{path}: no such file") from None
    except OSError as error:
        raise VqlinkError(f"{path}: cannot be read ({error.strerror or error})") from None


def _check_samples(path: Path, pairs: npt.NDArray[Any], expected: object) -> None:
    digest = hashlib.sha512()
    for start in range(0, len(pairs), _CHUNK):
        part = np.ascontiguousarray(pairs[start : start + _CHUNK])
        digest.update(part.tobytes())
        bad = ~np.isfinite(part).all(axis=1) if part.dtype.kind == "f" else np.empty(0)
        # A power of float32's largest values would not be finite either.
        if bad.any() or (part.dtype.kind == "f" and float(np.abs(part).max()) > 1e15):
            at = start + int(bad.argmax()) if bad.any() else start
            raise VqlinkError(f"{path}: sample {at} or one near it is NaN, infinite or above 1e15")
    if expected is not None and digest.hexdigest() != str(expected).lower():
        raise VqlinkError(f"{path}: the samples are not those of its meta file (sha512 differs)")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
