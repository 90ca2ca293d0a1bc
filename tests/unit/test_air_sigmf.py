"""SigMF files: the reference package reads ours, and damaged ones are refused in one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vqlink.air.sigmf import Recording, read_recording, write_recording
from vqlink.protocols import VqlinkError

RNG = np.random.default_rng(0)
SAMPLES = 0.3 * (RNG.normal(size=500) + 1j * RNG.normal(size=500))


def write(folder: Path, datatype: str = "cf32_le") -> Path:
    path = folder / "a.sigmf-data"
    write_recording(
        path, SAMPLES, sample_rate=4e6, datatype=datatype, description="a test",
        extra={"samples_per_symbol": 4, "symbol_energy": 1.0}, frames=((10, 300),),
    )  # fmt: skip
    return path


@pytest.mark.parametrize("datatype", ["cf32_le", "ci16_le"])
def test_round_trip(tmp_path: Path, datatype: str) -> None:
    path = write(tmp_path, datatype)
    recording = read_recording(path)
    assert (len(recording), recording.sample_rate, recording.datatype) == (500, 4e6, datatype)
    assert recording.extra["samples_per_symbol"] == 4
    scale = recording.extra["symbol_energy"] ** 0.5
    found = recording.read(-5, 510)
    assert not found[:5].any()
    assert not found[-5:].any()
    assert np.abs(found[5:-5] / scale - SAMPLES).max() < 1e-4
    if datatype == "ci16_le":
        largest = max(np.abs(found.real).max(), np.abs(found.imag).max())
        assert largest == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    for other in (path.with_suffix(".sigmf-meta"), path.with_suffix("")):
        assert len(read_recording(other)) == 500


@pytest.mark.parametrize("datatype", ["cf32_le", "ci16_le"])
def test_the_reference_package_reads_it(tmp_path: Path, datatype: str) -> None:
    sigmf = pytest.importorskip("sigmf")
    path = write(tmp_path, datatype)
    reference = sigmf.fromfile(str(path.with_suffix(".sigmf-meta")))
    reference.validate()
    assert reference.get_global_info()["core:datatype"] == datatype
    assert np.abs(reference.read_samples() - read_recording(path).read(0, 500)).max() < 1e-6
    (frame,) = reference.get_annotations()
    assert (frame["core:sample_start"], frame["core:sample_count"]) == (10, 300)


def _meta(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(data: Path) -> None:
        path = data.with_suffix(".sigmf-meta")
        document = json.loads(path.read_text())
        change(document["global"])
        path.write_text(json.dumps(document))

    return apply


def _text(text: str) -> Callable[[Path], object]:
    return lambda data: data.with_suffix(".sigmf-meta").write_text(text)


def _nan(data: Path) -> None:
    values = np.fromfile(data, dtype="<f4")
    values[321] = np.nan
    values.tofile(data)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no meta": (lambda data: data.with_suffix(".sigmf-meta").unlink(), "no such file"),
    "no data": (lambda data: data.unlink(), "no such file"),
    "empty data": (lambda data: data.write_bytes(b""), "no samples"),
    "half a sample": (lambda data: data.write_bytes(b"123456789"), "whole number"),
    "NaN": (_nan, "sample 160"),
    "other samples": (lambda data: np.zeros(1000, "<f4").tofile(data), "sha512"),
    "no JSON": (_text("this is no JSON"), "no JSON"),
    "no object": (_text("[1, 2]"), "no global"),
    "no global": (_text("{}"), "no global"),
    "deep JSON": (_text("[" * 100_000), "no JSON"),
    "real samples": (_meta(lambda g: g.update({"core:datatype": "rf32_le"})), "rf32_le"),
    "datatype missing": (_meta(lambda g: g.pop("core:datatype")), "datatype"),
    "datatype a list": (_meta(lambda g: g.update({"core:datatype": [1]})), "datatype"),
    "two channels": (_meta(lambda g: g.update({"core:num_channels": 2})), "one channel"),
    "rate zero": (_meta(lambda g: g.update({"core:sample_rate": 0})), "sample_rate"),
    "rate huge": (_meta(lambda g: g.update({"core:sample_rate": 10**400})), "sample_rate"),
}


@pytest.mark.parametrize("name", CASES)
def test_damaged_recordings_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = write(tmp_path)
    damage, hint = CASES[name]
    damage(path)
    with pytest.raises(VqlinkError, match=hint) as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


def test_the_rate_is_optional(tmp_path: Path) -> None:
    path = write(tmp_path)
    _meta(lambda g: g.pop("core:sample_rate"))(path)
    assert read_recording(path).sample_rate is None


def test_a_failed_write_leaves_the_earlier_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(VqlinkError, match="No space"):
        write(tmp_path, "ci16_le")
    assert read_recording(path).datatype == "cf32_le"
    assert len(list(tmp_path.iterdir())) == 2


def test_names(tmp_path: Path) -> None:
    for name in ("a.wav", "a.sigmf"):
        with pytest.raises(VqlinkError, match=r"a\."):
            read_recording(tmp_path / name)
    with pytest.raises(VqlinkError, match="sigmf-data"):
        write_recording(
            tmp_path / "a.wav", SAMPLES, sample_rate=1, datatype="cf32_le", description=""
        )


def test_arbitrary_meta_bytes_raise_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path)
    meta = path.with_suffix(".sigmf-meta")
    whole = meta.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), size=int(rng.integers(1, 9))):
            data[at] = int(rng.integers(256))
        meta.write_bytes(bytes(data[: int(rng.integers(1, len(data) + 1))]))
        with contextlib.suppress(VqlinkError):
            assert isinstance(read_recording(path), Recording)
