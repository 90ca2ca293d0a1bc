"""The 8-bit form of an exported code: weights and activations of its convolutions in int8.

Static quantization by onnxruntime: scales of the activations come from running the float code
on calibration pictures, over noise from 0 to 20 dB at the decoder.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlink.channels.awgn import AWGN
from vqlink.config.weights import CONFIG_NAME
from vqlink.deploy.onnx_codec import OnnxCodec
from vqlink.deploy.onnx_export import DECODER_NAME, ENCODER_NAME
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.datasets import open_images

_SNR_DB = (0.0, 5.0, 10.0, 15.0, 20.0)
_VALUES_LEAST, _INDICES_LEAST = 64, 16
"""Convolutions with fewer channels on either side stay in float32: those next to pixels, DCT
coefficients and, in a value code, to the symbols, where rounding is noise on the air."""

CALIBRATION = ("sample:motorcycle", "sample:hubble", "sample:camera")
"""Pictures that come with vqlink's dependencies, none of those that :mod:`compare` measures on."""

Feed = dict[str, np.ndarray[Any, Any]]


def quantize_int8(folder: Path, target: Path, pictures: Sequence[Tensor]) -> None:
    """Quantize the exported code in ``folder`` into ``target``.

    The outermost convolutions and all that isn't a convolution stay in float32.

    Args:
        pictures: (1, 3, H, W) each, for calibration.
    """
    codec = OnnxCodec(folder)
    target.mkdir(parents=True, exist_ok=True)
    encoder: list[Feed] = []
    decoder: list[Feed] = []
    for number, image in enumerate(pictures):
        snr_db = _SNR_DB[number % len(_SNR_DB)]
        snr = torch.tensor([snr_db])
        sent = codec.encode(image, snr)
        encoder.append(codec.encoder_feed(image, snr))
        if codec.sends_values:
            noise = stream(0, "int8", number)
            frame = torch.view_as_complex(sent[0].flatten(1, 3))
            noisy = AWGN()(frame, Point(snr_db=snr_db), generator=noise).y
            sent = (torch.view_as_real(noisy).reshape(sent[0].shape),)
        decoder.append(codec.decoder_feed(sent, snr))
    least = _VALUES_LEAST if codec.sends_values else _INDICES_LEAST
    _quantize(folder / ENCODER_NAME, target / ENCODER_NAME, encoder, least)
    _quantize(folder / DECODER_NAME, target / DECODER_NAME, decoder, least)
    shutil.copyfile(folder / CONFIG_NAME, target / CONFIG_NAME)


def calibration_pictures(location: str | None = None) -> list[Tensor]:
    """Four crops of at most 256x256 of each picture at ``location``, or of :data:`CALIBRATION`.

    Of a large set the first five pictures.

    Raises:
        VqlinkError: when there are none there.
    """
    crops = []
    for name in CALIBRATION if location is None else (location,):
        for _, image in open_images(name)[:5]:
            rows, columns = min(image.shape[1], 256), min(image.shape[2], 256)
            for part in (image[:, :rows], image[:, -rows:]):
                crops += [part[None, :, :, :columns], part[None, :, :, -columns:]]
    return [crop.contiguous() for crop in crops]


class _Feeds:
    """What onnxruntime calls a calibration data reader: one feed at a time, then None."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _quantize(source: Path, target: Path, feeds: Sequence[Feed], least: int) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with _quiet():
        quantize_static(
            str(source),
            str(target),
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_kept_in_float(source, least),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_providers=["CPUExecutionProvider"],
        )


def _kept_in_float(path: Path, least: int) -> list[str]:
    """Names of the convolutions with fewer than ``least`` channels at an end."""
    import onnx

    graph = onnx.load(path).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        shape = shapes.get(node.input[1])
        if shape is None or len(shape) != 4 or min(shape[:2]) < least:
            kept.append(node.name)
    return kept


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime warns by the root logger that the graph was not simplified first."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
