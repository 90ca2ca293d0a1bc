"""An exported code as a transceiver: onnxruntime at both ends, vqlink's link between them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlink.config.build import build_index_link, build_link
from vqlink.config.image_nets import (
    CompactEncoderConfig,
    DeepJSCCEncoderConfig,
    MultiscaleEncoderConfig,
)
from vqlink.config.link_parts import IndexLinkConfig, ValuesLinkConfig
from vqlink.config.quantizer_parts import CodebooksConfig
from vqlink.config.schema import Recipe
from vqlink.config.weights import read_config, sha256_of
from vqlink.deploy.onnx_export import DECODER_NAME, ENCODER_NAME, need_export_packages
from vqlink.errors import one_line
from vqlink.links.indices import IndexLink
from vqlink.links.values import ValuesLink, heard_snr
from vqlink.protocols import Point, Transmission, VqlinkError
from vqlink.rng import Generators


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported code."""
    return (folder / ENCODER_NAME).is_file() and (folder / DECODER_NAME).is_file()


class OnnxCodec:
    """A folder of :func:`vqlink.deploy.onnx_export.export_onnx`, or its int8 form, in use.

    It is a :class:`vqlink.protocols.Transceiver`, so that it is measured as any other system.
    Pictures are computed whole, not in tiles: 20 megapixels take a few gigabytes. Labels of lost
    blocks are hard decisions, where PyTorch's receiver weighs their bits (``link.lost: soft``).

    Args:
        folder: with ``encoder.onnx``, ``decoder.onnx`` and ``config.json``.
        threads: of onnxruntime; None for torch's number.

    Raises:
        VqlinkError: for a folder that is incomplete or damaged, or without onnxruntime.
    """

    link: ValuesLink | IndexLink

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        need_export_packages()
        self.recipe, self.folder = read_config(folder), folder
        self._name = self.recipe.name
        count = threads or torch.get_num_threads()
        self.encoder = _session(folder / ENCODER_NAME, count)
        self.decoder = _session(folder / DECODER_NAME, count)
        self.link = _link(self.recipe)

    @property
    def name(self) -> str:
        return self._name

    @property
    def sha256(self) -> str:
        """Hexadecimal, of both nets' own hashes."""
        both = [sha256_of(self.folder / name) for name in (ENCODER_NAME, DECODER_NAME)]
        return hashlib.sha256("".join(both).encode()).hexdigest()

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of a picture: padding to whole blocks included."""
        encoder = self.recipe.encoder
        if isinstance(self.link, IndexLink):
            assert isinstance(encoder, MultiscaleEncoderConfig)
            cells = -(-height // encoder.strides[-1]) * -(-width // encoder.strides[-1])
            return self.link.uses([cells * n for n in encoder.vectors])
        assert isinstance(encoder, CompactEncoderConfig | DeepJSCCEncoderConfig)
        blocks = -(-height // encoder.stride) * -(-width // encoder.stride)
        return blocks * encoder.channels // 2

    def encode(self, x: Tensor, snr_db: Tensor, *, names: Sequence[str] = ()) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) and (B,) dB -> symbols (B, h, w, n, 2), or labels of each scale.

        Args:
            names: outputs of the encoder to return in place of these.
        """
        feed = self.encoder_feed(x, snr_db)
        return tuple(
            torch.from_numpy(out) for out in self.encoder.run(list(names) or self._sent, feed)
        )

    def decode(self, received: tuple[Tensor, ...], snr_db: Tensor, size: tuple[int, int]) -> Tensor:
        """What arrived, as :meth:`encode` sent it, and (B,) dB -> (B, 3, *size) in [0, 1]."""
        (image,) = self.decoder.run(["image"], self.decoder_feed(received, snr_db))
        return torch.from_numpy(image)[..., : size[0], : size[1]]

    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) of any size across the channel and back."""
        batch, _, height, width = x.shape
        snr_db = point.snr(batch)
        with torch.no_grad():
            sent = self.encode(x, snr_db)
            link = self.link(sent, point, generator=generator)
        heard = heard_snr(snr_db, link) if self.sends_values else snr_db
        return Transmission(
            received=self.decode(link.received, heard, (height, width)),
            uses=torch.full((batch,), link.uses, dtype=torch.int64),
            tx_power=link.tx_power,
            outage=torch.zeros(batch, dtype=torch.bool),
            stats=link.stats,
        )

    def encoder_feed(self, x: Tensor, snr_db: Tensor) -> dict[str, np.ndarray[Any, Any]]:
        """The encoder's inputs by name, as onnxruntime takes them."""
        snr = {"snr_db": _array(snr_db)} if self.sends_values else {}
        return {"image": _array(x), **snr}

    def decoder_feed(
        self, received: tuple[Tensor, ...], snr_db: Tensor
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The decoder's inputs by name."""
        snr = {"snr_db": _array(snr_db)} if self.sends_values else {}
        named = {name: _array(t) for name, t in zip(self._sent, received, strict=True)}
        return {**named, **snr}

    @property
    def sends_values(self) -> bool:
        """Whether symbols go on the air and the nets are told the SNR, or labels do."""
        return isinstance(self.link, ValuesLink)

    @property
    def _sent(self) -> list[str]:
        if isinstance(self.link, ValuesLink):
            return ["symbols"]
        return [f"labels{scale}" for scale in range(len(self.link.bits))]


def _link(recipe: Recipe) -> ValuesLink | IndexLink:
    if isinstance(recipe.link, IndexLinkConfig):
        if not isinstance(recipe.quantizer, CodebooksConfig):
            raise VqlinkError(f"{recipe.name} has no codebooks: it is an upper bound")
        return build_index_link(recipe.link, [n.bit_length() - 1 for n in recipe.quantizer.sizes])
    if not isinstance(recipe.link, ValuesLinkConfig):
        raise VqlinkError(f"{recipe.name} is no image code; only these are exported")
    # Mixing and its inverse are inside the exported nets.
    return build_link(recipe.link.model_copy(update={"mixing": False}))


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not path.is_file():
        raise VqlinkError(f"{path.parent} is no exported code: it has no {path.name}")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception of its own for every kind of damage
        raise VqlinkError(f"{path} cannot be opened by onnxruntime: {one_line(error)}") from None


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = tensor.detach().contiguous().numpy()
    return array
