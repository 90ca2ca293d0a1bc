"""The learned transceiver: its contract, sizes, tiles, and what is on the air."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from vqlink.config.build import build_system
from vqlink.config.image_nets import DeepJSCCEncoderConfig, DeepJSCCNet
from vqlink.config.schema import Recipe
from vqlink.layers.dct import BlockDCT
from vqlink.protocols import Point, Transceiver
from vqlink.rng import stream
from vqlink.systems import jscc
from vqlink.systems.jscc import JSCC
from vqlink.systems.tiling import pad_to_multiple, tiled


def recipe(quantizer: dict[str, object], channels: int = 6) -> Recipe:
    net = {"kind": "compact", "width": [8, 12], "depth": [1, 1], "features": 8}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "paper": "001",
            "figure": "none",
            "source": {"train": "nowhere"},
            "encoder": {**net, "channels": channels},
            "quantizer": quantizer,
            "link": {"kind": "values"},
            "decoder": net,
            "losses": {"mse": 1.0},
            "training": {"steps": 1},
        }
    )


def lively(system: JSCC) -> JSCC:
    """Weights that are not at their starting point, where much is zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return system.eval()


SYSTEMS = {
    "identity": {"kind": "identity"},
    "qam": {"kind": "qam", "order": 64},
    "psk": {"kind": "psk", "order": 8},
    "learned": {"kind": "learned", "order": 16},
}


@pytest.fixture(params=SYSTEMS, name="system")
def fixture_system(request: pytest.FixtureRequest) -> JSCC:
    return lively(build_system(recipe(SYSTEMS[request.param])))


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 40)])
def test_any_size_comes_back_as_it_went(system: JSCC, size: tuple[int, int]) -> None:
    assert isinstance(system, Transceiver)
    x = picture(2, 3, *size)
    out = system.transmit(x, Point(snr_db=10.0), generator=stream(0, "t"))
    assert out.received.shape == x.shape
    assert out.received.dtype == torch.float32
    assert out.received.min() >= 0
    assert out.received.max() <= 1
    blocks = -(-size[0] // 8) * -(-size[1] // 8)
    assert out.uses.tolist() == [blocks * 3] * 2 == [system.uses(*size)] * 2
    assert not out.outage.any()


def test_power_budget_is_met_by_what_is_sent(system: JSCC) -> None:
    out = system.transmit(picture(3, 3, 128, 128), Point(snr_db=5.0), generator=stream(0, "t"))
    assert (10 * out.tx_power.log10()).abs().max() < 0.1


def test_symbols_on_the_air_are_constellation_points() -> None:
    system = lively(build_system(recipe(SYSTEMS["qam"])))
    symbols = system.encode(picture(1, 3, 64, 64), snr_db=10.0)
    points = torch.view_as_complex(system.quantizer.decode(torch.arange(64)).contiguous())  # type: ignore[operator]
    # One transmit gain for the message: with it taken off, the nearest point is the symbol.
    gain = symbols.real.max() / points.real.max()
    distance = (symbols.flatten()[:, None] / gain - points).abs().min(dim=1).values
    assert distance.max() < 1e-5
    assert symbols.abs().square().mean().item() == pytest.approx(1.0, abs=1e-4)


def test_encode_then_decode_is_a_noiseless_transmission(system: JSCC) -> None:
    x = picture(1, 3, 40, 24)
    symbols = system.encode(x, snr_db=20.0)
    decoded = system.decode(symbols, snr_db=20.0, size=(40, 24))
    silent = system.transmit(x, Point(snr_db=90.0), generator=stream(0, "t"))
    # The nets are told a clamped SNR, so only the noise differs.
    torch.testing.assert_close(decoded, silent.received, rtol=0, atol=2e-3)


def test_a_message_is_the_same_alone_and_in_a_batch(system: JSCC) -> None:
    x = picture(3, 3, 32, 32)
    snr = torch.tensor([0.0, 10.0, 20.0])
    together = system.transmit(
        x, Point(snr_db=snr), generator=[stream(0, "n", i) for i in range(3)]
    )
    alone = system.transmit(x[1:2], Point(snr_db=10.0), generator=[stream(0, "n", 1)])
    torch.testing.assert_close(together.received[1:2], alone.received, rtol=0, atol=1e-4)


@pytest.mark.parametrize("quantizer", [{"kind": "identity"}, {"kind": "learned", "order": 16}])
def test_the_paper_s_net_keeps_the_contract(
    quantizer: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = {"kind": "deepjscc", "width": 8}
    small = recipe(quantizer).model_copy(
        update={
            "encoder": DeepJSCCEncoderConfig.model_validate({**net, "channels": 8}),
            "decoder": DeepJSCCNet.model_validate(net),
        }
    )
    assert small.rho == Fraction(1, 12)
    system = lively(build_system(small))
    assert system.uses(17, 33) == 5 * 9 * 4
    x = picture(1, 3, 150, 90)
    whole = system.transmit(x, Point(snr_db=12.0), generator=stream(0, "t"))
    assert whole.received.shape == x.shape
    monkeypatch.setattr(jscc, "_TILE", 64)
    parts = system.transmit(x, Point(snr_db=12.0), generator=stream(0, "t"))
    assert ((whole.received - parts.received).abs() > 1e-3).float().mean() < 0.002
    out = system.train()(x[None, :, :, :32, :32], Point(snr_db=3.0), generator=stream(0, "t"))
    out.received.square().mean().backward()
    assert [n for n, p in system.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_tiles_equal_the_whole(system: JSCC, monkeypatch: pytest.MonkeyPatch) -> None:
    x = picture(1, 3, 200, 152)
    whole = system.transmit(x, Point(snr_db=12.0), generator=stream(0, "t"))
    monkeypatch.setattr(jscc, "_TILE", 64)
    parts = system.transmit(x, Point(snr_db=12.0), generator=stream(0, "t"))
    # A rounding at a decision boundary may move a hard symbol: few pixels, not seams.
    differ = (whole.received - parts.received).abs() > 1e-3
    assert differ.float().mean() < 0.002


def test_tiling_needs_its_context() -> None:
    """Trimming tiles without the nets' reach would show: the check above is not vacuous."""
    kernel = torch.ones(1, 1, 9, 9)

    def blur(t: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(t, kernel, padding=4)

    x = picture(1, 1, 64, 64)
    exact = tiled(blur, x, scale=1, reach=4, tile=16, unit=1)
    short = tiled(blur, x, scale=1, reach=3, tile=16, unit=1)
    torch.testing.assert_close(exact, blur(x))
    assert (short - blur(x)).abs().max() > 0.01


def test_padding_repeats_the_edge() -> None:
    x = picture(1, 3, 17, 16)
    padded = pad_to_multiple(x, 8)
    assert padded.shape == (1, 3, 24, 16)
    assert torch.equal(padded[..., 17:, :], x[..., 16:17, :].expand(1, 3, 7, 16))


def test_gradient_reaches_every_parameter() -> None:
    for quantizer in SYSTEMS.values():
        system = lively(build_system(recipe(quantizer))).train()
        x = picture(2, 3, 3, 32, 32)
        out = system(x, Point(snr_db=torch.tensor([3.0, 17.0])), generator=stream(0, "t"))
        assert out.received.shape == x.shape
        (out.received - x).square().mean().backward()
        missing = [n for n, p in system.named_parameters() if p.grad is None or not p.grad.any()]
        assert missing == []


def test_windows_of_a_message_share_one_budget() -> None:
    system = lively(build_system(recipe(SYSTEMS["identity"]))).train()
    x = picture(2, 3, 3, 32, 32)
    x[0, 0] *= 0.01
    out = system(x, Point(snr_db=10.0), generator=stream(0, "t"))
    torch.testing.assert_close(out.link.tx_power, torch.ones(2), rtol=1e-4, atol=0)
    assert out.link.uses == 3 * 16 * 3


def test_the_untrained_code_is_already_a_transform_code() -> None:
    """The linear branch sends the leading DCT coefficients of a picture with natural spectrum."""
    system = build_system(recipe(SYSTEMS["identity"], channels=32)).eval()
    coefficients = 0.3 * torch.randn(1, 192, 12, 12, generator=torch.Generator().manual_seed(0))
    x = BlockDCT(8).inverse(coefficients) + 0.5
    out = system(x[None], Point(snr_db=30.0), generator=stream(0, "t"))
    pair = torch.stack([out.received.detach().flatten(), x.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_wrong_shapes_are_errors(system: JSCC) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        system.transmit(picture(3, 16, 16), Point(snr_db=1.0), generator=stream(0, "t"))
