"""Export an image code to ONNX: ``encoder.onnx`` and ``decoder.onnx`` beside its ``config.json``.

Batch and picture size stay free in both files, and so does the SNR of a value link.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqlink.config.build import LearnedSystem
from vqlink.config.schema import Recipe
from vqlink.config.weights import CONFIG_NAME
from vqlink.deploy.nets import IndexReceiver, IndexTransmitter, ValuesReceiver, nets_of
from vqlink.protocols import VqlinkError

ENCODER_NAME, DECODER_NAME = "encoder.onnx", "decoder.onnx"
OPSET = 20
"""Of ONNX: the first with GELU as an operator of its own."""


def export_onnx(system: LearnedSystem, recipe: Recipe, folder: Path) -> None:
    """Write both ends of ``system`` and its recipe into ``folder``, which is made when missing.

    Raises:
        VqlinkError: without the packages of the extra ``export``, or for an upper bound.
    """
    need_export_packages()
    plain = system.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    transmitter, receiver = nets_of(plain)
    # Two different sides, and a batch of two: sizes of 1 would be taken for constants.
    image = torch.rand(2, 3, 96, 72, generator=torch.Generator().manual_seed(0))
    snr_db = torch.tensor([5.0, 15.0])
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        if isinstance(transmitter, IndexTransmitter):
            assert isinstance(receiver, IndexReceiver)
            sent = transmitter(image)[: len(receiver.inputs)]
            _write(transmitter, (image,), folder / ENCODER_NAME, {"image": _FREE_IMAGE})
            free: Any = {"labels": tuple({0: _FREE, 1: _FREE, 2: _FREE} for _ in sent)}
            _write(receiver, tuple(sent), folder / DECODER_NAME, free)
        else:
            assert isinstance(receiver, ValuesReceiver)
            symbols, _ = transmitter(image, snr_db)
            free = {"image": _FREE_IMAGE, "snr_db": {0: _FREE}}
            _write(transmitter, (image, snr_db), folder / ENCODER_NAME, free)
            free = {"symbols": {0: _FREE, 1: _FREE, 2: _FREE}, "snr_db": {0: _FREE}}
            _write(receiver, (symbols, snr_db), folder / DECODER_NAME, free)
    text = json.dumps(recipe.model_dump(mode="json"), indent=2) + "\n"
    (folder / CONFIG_NAME).write_text(text)


def need_export_packages() -> None:
    """Raise VqlinkError, with what to do, where onnx, onnxscript or onnxruntime is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise VqlinkError(f"{error.name} is missing: pip install 'vqlink[export]'") from None


_FREE = torch.export.Dim.DYNAMIC
_FREE_IMAGE = {0: _FREE, 2: _FREE, 3: _FREE}


def _write(net: Any, inputs: tuple[Tensor, ...], path: Path, free: dict[str, Any]) -> None:
    assert isinstance(net, nn.Module)
    net(*inputs)  # fills caches of constants with real tensors, before tracing would with fake ones
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        registration = logging.getLogger("torch.onnx._internal.exporter._registration")
        registration.setLevel(logging.ERROR)  # it complains that torchvision is not there
        program = torch.onnx.export(
            net,
            inputs,
            input_names=list(net.inputs),  # type: ignore[arg-type]
            output_names=list(net.outputs),  # type: ignore[arg-type]
            dynamic_shapes=free,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)
