"""Frames of every description, damaged in every way: an answer each, and nothing but answers."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest

from vqlink.air.frame import WAVEFORMS, build_frame
from vqlink.air.header import Header, name_id
from vqlink.air.pulse import shape
from vqlink.air.sigmf import Recording
from vqlink.evaluation.air import Delivery, Directory, receive_frames, weights_id
from vqlink.zoo.catalogue import entries

LEARNED = ("jscc-q64-awgn-1-12", "vqdeepsc-4")
LINKS = ("hevc+ldpc5g@16qam-2/3", "jpeg+ldpc80211ad@qpsk-1/2", "nobody's")
SIDES = (1, 15, 16, 20, 64, 128, 5000, 65_535)


def _header(rng: np.random.Generator) -> Header:
    """Mostly of a system that there is; mostly contradicting it."""
    weights = {entry.name: weights_id(entry.sha256) for entry in entries()}
    name = str(rng.choice([*LEARNED, *LINKS]))
    height, width = (int(side) for side in rng.choice(SIDES, 2))
    told = weights.get(name, 0) if rng.random() < 0.9 else 77
    layers = int(rng.choice([1, 3, 4, 15]))
    uses = int(rng.choice([1, 2, 10, 300, 384, 4096]))
    return Header(name_id(name), told, height, width, uses, layers, 10.0)


def _damaged(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = int(rng.integers(1, len(y)))
    match int(rng.integers(5)):
        case 0:
            y = y[at:]
        case 1:
            y = y[:at]
        case 2:
            burst = 1e6 * (rng.normal(size=(300, 2)) @ [1, 1j])
            y = np.concatenate([y[:at], burst, 1e-9 * y[at:]])
        case 3:
            y = np.concatenate([y[:at], y])
    return y * 10.0 ** int(rng.integers(-12, 9))


def _deliveries(rng: np.random.Generator, directory: Directory) -> list[Delivery]:
    header = _header(rng)
    payload = (rng.normal(size=(header.uses, 2)) @ [1, 1j]) / np.sqrt(2)
    waveform = WAVEFORMS[str(rng.choice(sorted(WAVEFORMS)))]
    y = _damaged(shape(build_frame(header, payload, waveform), 4).astype(complex), rng)
    started = time.process_time()
    found = list(receive_frames(Recording.of(y, 1.0), 4, directory))
    assert time.process_time() - started < 5
    return found


def _check(cases: int, seed: int) -> None:
    rng, directory = np.random.default_rng(seed), Directory()
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for _ in range(cases):
            for delivery in _deliveries(rng, directory):
                assert "\n" not in delivery.message
                assert (delivery.image is not None) == (delivery.outcome == "ok")
                if delivery.image is not None:
                    assert bool(delivery.image.isfinite().all())
                assert 0 <= delivery.found.there <= 1
                outcomes.add(delivery.outcome)
    assert {"outage", "unknown"} <= outcomes


def test_damaged_frames() -> None:
    _check(15, seed=0)


@pytest.mark.slow
def test_many_damaged_frames() -> None:
    _check(2000, seed=1)
