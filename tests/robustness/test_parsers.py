"""Whatever bytes arrive: the documented exception or a result, soon, and in bounded memory."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from tests.conftest import small_recipe, smooth_picture
from tests.robustness.fuzz import Parser, fuzz
from vqlink.config.channels import channel_name, parse_channel
from vqlink.config.load import RECIPES, load_recipe
from vqlink.config.weights import read_config, read_tensors
from vqlink.digital.blocks import SURE, CodeName, plan_code
from vqlink.digital.codecs import CodecError, PillowCodec, SourceCodec
from vqlink.digital.codes import CODES
from vqlink.digital.hevc import HEVCCodec
from vqlink.evaluation.rows import Row, mend_rows
from vqlink.evaluation.run import summarise
from vqlink.links.indices import bits_to_labels, labels_to_bits
from vqlink.protocols import VqlinkError
from vqlink.sources.images import decode_image
from vqlink.training.checkpoint import read_header
from vqlink.units import parse_ratio
from vqlink.zoo.catalogue import entries, parse_entry
from vqlink.zoo.hub import parse_location, parse_published

FAST = 30
SIZE = (64, 80)

CODECS: tuple[SourceCodec, ...] = (
    HEVCCodec(), PillowCodec("jpeg"), PillowCodec("jpeg2000"), PillowCodec("webp"),
    PillowCodec("avif"),
)  # fmt: skip

ROW = Row(
    system="s", recipe=None, weights="ab", channel="awgn", point={"snr_db": 1.0}, repeat=0,
    sample="a", metric="psnr", unit="dB", value=30.0, uses=10, rho=0.1, tx_power=1.0, status="ok",
    flags=["power"], labels={"mcs": "qpsk-1/2", "lost": 0.5}, seed=0, versions={"torch": "2"},
)  # fmt: skip


def in_file(folder: Path, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser of files as one of bytes; the file lies in a folder of its own."""
    place = folder / name.replace(".", "-")
    place.mkdir(exist_ok=True)

    def parse(data: bytes) -> object:
        (place / name).write_bytes(data)
        return read(place)

    return parse


def _recipe(folder: Path) -> object:
    return load_recipe(folder / "top.yaml")


def _rows(folder: Path) -> object:
    return summarise(mend_rows(folder / "rows.jsonl"))


def _override(data: bytes) -> object:
    return load_recipe("jscc-q64-awgn-1-12", [data.decode("utf-8", "replace")])


def _words(data: bytes) -> object:
    """What people write after options."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        parse_ratio(text)
    with contextlib.suppress(VqlinkError):
        parse_location(text)
    config = parse_channel(text)
    assert parse_channel(channel_name(config)) == config
    return config


def _decoded(codec: SourceCodec) -> Callable[[bytes], object]:
    def parse(data: bytes) -> None:
        picture = codec.decode(data, *SIZE)
        assert picture.shape == (3, *SIZE)
        assert picture.dtype == torch.uint8

    return parse


def _payloads(codec: SourceCodec) -> list[bytes]:
    image = (smooth_picture(*SIZE) * 255).to(torch.uint8)
    count = len(codec.qualities)
    return [codec.encode(image, codec.qualities[count * part // 4]) for part in (1, 3)]


def _image_files() -> list[bytes]:
    picture = Image.fromarray(np.uint8(smooth_picture(40, 48).permute(1, 2, 0) * 255))
    files = []
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"):
        buffer = io.BytesIO()
        picture.save(buffer, form)
        files.append(
            buffer.getvalue()[:4000] if form in ("TIFF", "BMP", "PPM") else buffer.getvalue()
        )
    return files


def _state() -> bytes:
    tensors = {"model/a": torch.ones(2, 3), "ema/a": torch.zeros(2)}
    return save(tensors, {"step": "3", "recipe": "{}"})


def parsers(folder: Path) -> dict[str, Parser]:
    """Every parser of bytes from outside, with its share of the 10^5 slow cases."""
    config = small_recipe("jscc-q64-awgn-1-12").model_dump_json().encode()
    index = small_recipe("vqdeepsc-4").model_dump_json().encode()
    recipes = [(RECIPES / f"{name}.yaml").read_bytes() for name in ("jscc-awgn-1-12", "vqdeepsc-4")]
    base = (RECIPES / "base" / "jscc.yaml").read_bytes()
    row = json.dumps(asdict(ROW)).encode() + b"\n"
    entry = json.dumps(entries()[0].document()).encode()
    safetensors = _state()
    in_yaml = in_file(folder, "top.yaml", _recipe)
    found = {
        "recipe": Parser(in_yaml, [*recipes, base], VqlinkError, 6_000),
        "override": Parser(
            _override, [b"training.steps=3", b"quantizer.order=16", b"losses={mse: 1.0}"],
            VqlinkError, 6_000,
        ),
        "words": Parser(
            _words, [b"rician:k=4", b"packet:64", b"1/12", b"hf://a/b@c", b"1e-9"],
            VqlinkError, 12_000,
        ),
        "config": Parser(
            in_file(folder, "config.json", read_config), [config, index], VqlinkError, 14_000
        ),
        "rows": Parser(in_file(folder, "rows.jsonl", _rows), [row, row * 2], VqlinkError, 12_000),
        "manifest": Parser(lambda data: parse_entry(data, "x"), [entry], VqlinkError, 12_000),
        "published": Parser(
            lambda data: parse_published(data, "x"),
            [b'{"entry": ' + entry + b', "config_sha256": "' + b"0" * 64 + b'"}'],
            VqlinkError, 6_000,
        ),
        "weights": Parser(
            in_file(folder, "model.safetensors", read_tensors), [safetensors], VqlinkError, 8_000
        ),
        "state": Parser(
            in_file(folder, "state.safetensors", lambda f: read_header(f / "state.safetensors")),
            [safetensors], VqlinkError, 8_000,
        ),
        "image": Parser(lambda data: decode_image(data, "x"), _image_files(), VqlinkError, 8_000),
    }  # fmt: skip
    for codec in CODECS:
        found[codec.name] = Parser(_decoded(codec), _payloads(codec), CodecError, 3_000)
    return found


NAMES = (
    "recipe", "override", "words", "config", "rows", "manifest", "published", "weights", "state",
    "image", *(codec.name for codec in CODECS),
)  # fmt: skip


@pytest.fixture(name="all_parsers", scope="module")
def fixture_all_parsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    return parsers(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", NAMES)
def test_some_cases(name: str, all_parsers: dict[str, Parser]) -> None:
    fuzz(all_parsers[name], FAST, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_thousand_cases(name: str, all_parsers: dict[str, Parser]) -> None:
    assert sum(parser.slow for parser in all_parsers.values()) >= 100_000
    assert set(all_parsers) == set(NAMES)
    fuzz(all_parsers[name], all_parsers[name].slow, derandomize=False)


_RATIOS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@cache
def _length(code: CodeName, payload: int) -> int:
    return plan_code(code, payload, 0.5, 4).coded


def _received(draw: st.DrawFn, length: int) -> torch.Tensor:
    """Log-likelihood ratios as no demapper should give them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    llr = 10 ** draw(st.floats(-3, 30)) * torch.randn(1, length, generator=generator)
    for value in draw(st.lists(_RATIOS, max_size=8)):
        llr[0, draw(st.integers(0, length - 1))] = value
    return llr


@pytest.mark.parametrize("code", ["ldpc5g", "ldpc80211ad", "none"])
def test_blocks_come_together_from_whatever_arrives(code: CodeName) -> None:
    """All labels are codewords of the codebook, and a good block says so."""

    @settings(
        max_examples=FAST, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        bits, count = data.draw(st.integers(1, 10)), data.draw(st.sampled_from((1, 7, 160)))
        plan = plan_code(code, bits * count, 0.5, 4)

        @st.composite
        def ratios(draw: st.DrawFn) -> torch.Tensor:
            return _received(draw, plan.coded)

        values, good = plan.decode(data.draw(ratios()))
        assert values.shape == good.shape == (1, bits * count)
        assert bool((values.abs() <= SURE).all()), "NaN and infinities stay outside"
        labels = bits_to_labels((values > 0).float(), bits)
        assert labels.shape == (1, count)
        assert 0 <= labels.min() <= labels.max() < 1 << bits
        sent = torch.randint(0, 1 << bits, (1, count))
        noiseless = 8 * plan.encode(labels_to_bits(sent, bits)) - 4
        arrived, fine = plan.decode(noiseless)
        assert torch.equal(bits_to_labels((arrived > 0).float(), bits), sent)
        assert bool(fine.all())

    holds()


@pytest.mark.parametrize("name", sorted(CODES))
def test_messages_of_bytes_from_whatever_arrives(name: str) -> None:
    code = CODES[name]
    frame = code.plan(600, 2, 0.5)
    assert frame is not None

    @settings(
        max_examples=FAST, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        @st.composite
        def ratios(draw: st.DrawFn) -> torch.Tensor:
            return _received(draw, frame.bits)[0]

        payload = code.decode(data.draw(ratios()), frame)
        assert payload is None or len(payload) >= code.capacity(frame)

    holds()
