"""``vqlink export``: a code to ONNX, held to PyTorch, timed, and in int8 with what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from vqlink.config.weights import read_config
from vqlink.deploy.compare import (
    Agreement,
    Seconds,
    check,
    picture,
    seconds_of_onnx,
    seconds_of_pytorch,
    through_channel,
)
from vqlink.deploy.int8 import calibration_pictures, quantize_int8
from vqlink.deploy.onnx_codec import OnnxCodec
from vqlink.deploy.onnx_export import export_onnx, need_export_packages
from vqlink.zoo.catalogue import entries, load_system

_TIMED = ("sample:coffee", 384, 512)
SNR_DB = (0.0, 10.0, 20.0)
"""Where the loss of int8 is measured."""


@dataclass(frozen=True)
class Form:
    """One form of the code.

    Attributes:
        name: ``pytorch``, ``onnx`` or ``int8``.
        folder: a SYSTEM for the other verbs; None for PyTorch.
        bytes: of both nets; None for PyTorch.
        seconds: of a 512x384 picture.
        psnr_db: mean over sample pictures at each of :data:`SNR_DB`, over the code's own channel,
            with the same draws for all forms.
    """

    name: str
    folder: Path | None
    bytes: int | None
    seconds: Seconds
    psnr_db: tuple[float, ...]


@dataclass(frozen=True)
class Exported:
    """What :func:`export` made and measured."""

    agreement: Agreement
    forms: tuple[Form, ...]


def export(
    name: str, folder: Path, *, int8: bool = False, calibration: str | None = None
) -> Exported:
    """Export zoo weights or a weights folder into ``folder/float32`` (and ``folder/int8``).

    Args:
        calibration: pictures for int8; None for some that come with vqlink.

    Raises:
        VqlinkError: without the extra ``export``, for unknown weights, or when the exported nets
            differ from PyTorch by more than 1e-4.
    """
    need_export_packages()
    pictures = calibration_pictures(calibration) if int8 else []
    system, recipe, _ = load_system(name)
    export_onnx(system, recipe, folder / "float32")
    codec = OnnxCodec(folder / "float32")
    agreement = check(system, codec)
    image = picture(*_TIMED)
    seconds = seconds_of_pytorch(system, image)
    forms = [
        Form("pytorch", None, None, seconds, through_channel(system, SNR_DB)),
        _form("onnx", codec, image),
    ]
    if int8:
        quantize_int8(folder / "float32", folder / "int8", pictures)
        forms.append(_form("int8", OnnxCodec(folder / "int8"), image))
    return Exported(agreement, tuple(forms))


def name_of(name_or_folder: str) -> str:
    """What weights are called: their zoo name, or the recipe's of a folder.

    Raises:
        VqlinkError: for a folder that holds no weights.
    """
    folder = Path(name_or_folder)
    named = any(entry.name == name_or_folder for entry in entries()) or not folder.is_dir()
    return folder.name if named else read_config(folder).name


def _form(name: str, codec: OnnxCodec, image: torch.Tensor) -> Form:
    size = sum(file.stat().st_size for file in codec.folder.glob("*.onnx"))
    figures = through_channel(codec, SNR_DB)
    return Form(name, codec.folder, size, seconds_of_onnx(codec, image), figures)
