"""Exported codes against PyTorch, in onnxruntime, and across the channel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import small_recipe, smooth_picture
from vqlink.channels.fading import Rayleigh
from vqlink.cli.main import run
from vqlink.config.build import LearnedSystem, build_system
from vqlink.config.channels import parse_channel
from vqlink.deploy import compare
from vqlink.deploy.compare import Agreement, agreement, check
from vqlink.deploy.int8 import quantize_int8
from vqlink.deploy.nets import ValuesTransmitter, nets_of
from vqlink.deploy.onnx_codec import OnnxCodec
from vqlink.deploy.onnx_export import export_onnx
from vqlink.evaluation.systems import open_systems
from vqlink.links.indices import IndexLink
from vqlink.protocols import Point, Transceiver, VqlinkError
from vqlink.rng import stream
from vqlink.systems.index_code import IndexCode
from vqlink.systems.jscc import JSCC

VALUES = ("jscc-q64-awgn-1-12", "jscc-awgn-1-12", "jscc-l64-awgn-1-12")
INDICES = ("vqdeepsc-4", "vqdeepsc-3")


def built(name: str) -> LearnedSystem:
    """With weights that are not at their start, where whole branches are zero."""
    system = build_system(small_recipe(name)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return system


def picture(height: int, width: int) -> torch.Tensor:
    return smooth_picture(height, width)[None]


@pytest.mark.parametrize("name", VALUES)
def test_what_is_traced_is_the_code_itself(name: str) -> None:
    system, x, snr = built(name), picture(61, 45), torch.tensor([7.0])
    assert isinstance(system, JSCC)
    transmitter, receiver = nets_of(system)
    assert isinstance(transmitter, ValuesTransmitter)
    with torch.no_grad():
        symbols, _ = transmitter(x, snr)
        assert torch.allclose(torch.view_as_complex(symbols), system.encode(x, 7.0), atol=1e-5)
        noisy = torch.view_as_complex(symbols + 0.1)
        image = receiver(torch.view_as_real(noisy), snr)[..., :61, :45]
        assert torch.allclose(image, system.decode(noisy, 7.0, (61, 45)), atol=1e-5)


@pytest.mark.parametrize("name", INDICES)
def test_what_is_traced_is_the_index_code_itself(name: str) -> None:
    system, x = built(name), picture(61, 45)
    assert isinstance(system, IndexCode)
    system.label_codewords()
    transmitter, receiver = nets_of(system)
    with torch.no_grad():
        labels = list(transmitter(x)[: len(system.codebooks)])
        indices = list(system.encode(x))
        for scale, (label, index) in enumerate(zip(labels, indices, strict=True)):
            assert torch.equal(label, system.labels(scale)[index])
        labels[0][:, 1] = indices[0][:, 1] = -1  # lost on the way
        assert torch.allclose(
            receiver(*labels)[..., :61, :45], system.decode(indices, (61, 45)), atol=1e-5
        )


def test_an_upper_bound_is_refused() -> None:
    with pytest.raises(VqlinkError, match="no codebooks"):
        nets_of(build_system(small_recipe("vqdeepsc-4-bound")))


@pytest.fixture(name="exported", scope="module")
def fixture_exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[JSCC, Path]:
    system, folder = built("jscc-q64-awgn-1-12"), tmp_path_factory.mktemp("exported")
    assert isinstance(system, JSCC)
    export_onnx(system, small_recipe("jscc-q64-awgn-1-12"), folder)
    return system, folder


def test_onnxruntime_agrees_at_any_size_batch_and_snr(exported: tuple[JSCC, Path]) -> None:
    system, folder = exported
    codec = OnnxCodec(folder)
    assert check(system, codec).holds
    x = torch.cat([smooth_picture(40, 56, seed)[None] for seed in range(3)])
    both = codec.encode(x, torch.tensor([0.0, 9.0, 20.0]))[0]
    for i, snr_db in enumerate((0.0, 9.0, 20.0)):
        alone = codec.encode(x[i : i + 1], torch.tensor([snr_db]))[0]
        assert torch.allclose(both[i : i + 1], alone, atol=1e-5)
    assert not torch.allclose(both, codec.encode(x, torch.full((3,), 9.0))[0], atol=1e-3)


def test_a_difference_is_noticed(
    exported: tuple[JSCC, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, folder = exported
    codec = OnnxCodec(folder)
    with torch.no_grad():
        weight = system.decoder.linear.bias  # type: ignore[union-attr]
        weight += 0.01
    found = agreement(system, codec, picture(32, 32), 10.0)
    assert found.pixels > 1e-4 > found.latents
    with pytest.raises(VqlinkError, match="differs from PyTorch"):
        check(system, codec)
    with torch.no_grad():
        weight -= 0.01
    # Decisions: a symbol that is not the nearest to its latent.
    sent = codec.encode

    def wrong(*args: object, **kwargs: object) -> tuple[torch.Tensor, ...]:
        return tuple(part.flip(1) for part in sent(*args, **kwargs))  # type: ignore[arg-type]

    monkeypatch.setattr(codec, "encode", wrong)
    assert agreement(system, codec, picture(32, 32), 10.0).decisions > 0.01
    assert not Agreement(0.0, 0.0, 2e-4).holds


def test_it_is_a_transceiver_over_any_channel(exported: tuple[JSCC, Path]) -> None:
    system, folder = exported
    names, channel = [str(folder), "jpeg+ldpc5g"], parse_channel("rayleigh")
    (opened, link) = open_systems(names, channel, None)
    codec = opened.transceiver
    assert isinstance(codec, Transceiver)
    assert opened.learned
    assert isinstance(codec, OnnxCodec)
    assert codec.link.channel == Rayleigh()
    for size in ((61, 45), (512, 768)):
        assert codec.uses(*size) == system.uses(*size) == link.transceiver.uses(*size)
    x, point = picture(61, 45), Point(snr_db=8.0)
    system.link.channel = Rayleigh()
    ours = system.transmit(x, point, generator=stream(0, "noise"))
    theirs = codec.transmit(x, point, generator=stream(0, "noise"))
    assert torch.allclose(ours.received, theirs.received, atol=1e-3)
    assert torch.equal(ours.uses, theirs.uses)
    assert torch.allclose(ours.tx_power, theirs.tx_power, atol=1e-4)


def test_int8_is_smaller_and_nearly_as_good(
    exported: tuple[JSCC, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These nets are too small to be 8-bit by themselves: all convolutions are."""
    _, folder = exported
    monkeypatch.setattr("vqlink.deploy.int8._VALUES_LEAST", 8)
    quantize_int8(folder, tmp_path, [picture(64, 64), picture(48, 80)])
    float32, int8 = OnnxCodec(folder), OnnxCodec(tmp_path)
    x = picture(61, 45)
    both = [c.transmit(x, Point(snr_db=10.0), generator=stream(0, "n")) for c in (float32, int8)]
    difference = (both[0].received - both[1].received).abs()
    assert difference.max() > 1e-5
    assert difference.mean() < 0.03
    assert float32.sha256 != int8.sha256


def test_damaged_exports_are_one_line(exported: tuple[JSCC, Path], tmp_path: Path) -> None:
    shutil.copytree(exported[1], tmp_path / "cut")
    data = (tmp_path / "cut" / "decoder.onnx").read_bytes()
    (tmp_path / "cut" / "decoder.onnx").write_bytes(data[:1000])
    with pytest.raises(VqlinkError, match=r"decoder\.onnx cannot be opened") as caught:
        OnnxCodec(tmp_path / "cut")
    assert "\n" not in str(caught.value)
    (tmp_path / "cut" / "decoder.onnx").unlink()
    with pytest.raises(VqlinkError, match=r"has no decoder\.onnx"):
        OnnxCodec(tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*VALUES[1:], *INDICES])
def test_every_kind_of_code_is_exported(name: str, tmp_path: Path) -> None:
    system = built(name)
    if isinstance(system, IndexCode):
        system.label_codewords()
    export_onnx(system, small_recipe(name), tmp_path)
    codec = OnnxCodec(tmp_path)
    assert check(system, codec).holds
    assert codec.uses(61, 45) == system.uses(61, 45)
    if isinstance(codec.link, IndexLink):
        lost = [torch.full_like(part, -1) for part in codec.encode(picture(32, 32), torch.ones(1))]
        assert codec.decode(tuple(lost), torch.ones(1), (32, 32)).isfinite().all()


@pytest.mark.slow
def test_the_command(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(weights), "--int8", "--out", str(tmp_path / "out"), "--json"]
    assert run(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert [form["name"] for form in document["forms"]] == ["pytorch", "onnx", "int8"]
    pytorch, onnx, int8 = (form["psnr_db"] for form in document["forms"])
    assert onnx == pytest.approx(pytorch, abs=1e-3)
    assert int8 == pytest.approx(pytorch, abs=0.5)
    assert max(document["agreement"].values()) <= compare.TOLERANCE
    out = str(tmp_path / "out" / "int8")
    assert run(["evaluate", out, "--data", "sample:cat", "--samples", "1", "--json"]) == 0


def test_mistakes(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path)]
    for words, said in (
        (["export", "jscc-q64-awgn-1-13", *out], "no weights named"),
        (["export", str(weights), "--format", "tflite", *out], "tflite"),
        (["export", str(weights), "--int8", "--calibrate", str(tmp_path / "none"), *out], "none"),
    ):
        assert run(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
