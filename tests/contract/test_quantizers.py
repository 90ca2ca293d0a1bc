"""Every quantizer keeps the same promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from vqlink.quantizers.binary import BinaryQuantizer
from vqlink.quantizers.constellation import ConstellationQuantizer, psk_points, qam_points
from vqlink.quantizers.product import ProductQuantizer
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.quantizers.replacement import Replacement
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.soft import SoftQuantizer
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream

PATHS = [
    ("straight_through", "loss"),
    ("straight_through", "ema"),
    ("rotation", "loss"),
    ("rotation", "ema"),
    ("noise", "gradient"),
    ("noise", "ema"),
    ("directional", "gradient"),
    ("directional", "ema"),
    ("soft", "gradient"),
    ("soft", "ema"),
]


def vector(gradient: str, learning: str, **options: object) -> VectorQuantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VectorQuantizer(
            24,
            6,
            gradient=gradient,
            learning=learning,
            init="normal",
            **options,  # type: ignore[arg-type]
        )


def soft(assignment: str, **options: object) -> SoftQuantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SoftQuantizer(24, 6, assignment=assignment, **options)  # type: ignore[arg-type]


def residual(branches: list[int], **options: object) -> ResidualQuantizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualQuantizer(branches, 6, **options)  # type: ignore[arg-type]


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    f"{g}-{c}": lambda g=g, c=c: vector(g, c)
    for g, c in PATHS  # type: ignore[misc]
}
BUILDERS["product"] = lambda: ProductQuantizer([vector("straight_through", "loss") for _ in "ab"])
BUILDERS["qam"] = lambda: QAMQuantizer(64)
BUILDERS["psk"] = lambda: ConstellationQuantizer(psk_points(8))
BUILDERS["learned"] = lambda: ConstellationQuantizer(qam_points(16), learned=True)
BUILDERS["soft"] = lambda: soft("distance")
BUILDERS["soft-heads"] = lambda: soft("distance", heads=2)
BUILDERS["attentive"] = lambda: soft("attention")
BUILDERS["attentive-heads"] = lambda: soft("attention", heads=3, sign=1, scale="dim")
BUILDERS["binary"] = lambda: BinaryQuantizer(6)
BUILDERS["residual-tree"] = lambda: residual([4, 3, 2, 2, 2, 2], tree=True)
BUILDERS["residual-plain"] = lambda: residual([5, 4, 3, 2, 2, 2], tree=False, learning="ema")


@pytest.fixture(name="build", params=BUILDERS)
def fixture_build(request: pytest.FixtureRequest) -> Callable[[], nn.Module]:
    return BUILDERS[request.param]


@pytest.fixture(name="quantizer")
def fixture_quantizer(build: Callable[[], nn.Module]) -> nn.Module:
    return build()


def latents(quantizer: nn.Module, *shape: int) -> torch.Tensor:
    dims = {ProductQuantizer: 12, QAMQuantizer: 2, ConstellationQuantizer: 2}
    dim = dims.get(type(quantizer), 6)
    return torch.randn(*shape, dim, generator=stream(1, "z"))


def test_evaluation_is_deterministic_and_equals_decoded_indices(quantizer: nn.Module) -> None:
    z = latents(quantizer, 3, 5, 7)
    quantizer.eval()
    out = quantizer(z)
    assert torch.equal(out.values, quantizer(z).values)
    assert torch.equal(out.indices, quantizer.encode(z))
    assert out.indices.dtype == torch.int64
    assert out.indices.shape == (3, 5, 7)
    assert torch.equal(out.values, quantizer.decode(out.indices))
    assert torch.equal(out.values, quantizer.hard(z))
    assert not out.values.requires_grad


def test_decode_inverts_encode(quantizer: nn.Module) -> None:
    if isinstance(quantizer, SoftQuantizer) and quantizer.assignment == "attention":
        pytest.skip("by a dot product, a codeword need not be its own best match")
    if isinstance(quantizer, ResidualQuantizer):
        pytest.skip("untrained layers are no finer than those before them")
    count = min(2 ** math.floor(quantizer.bits_per_vector), 5000)
    indices = torch.arange(count)
    values = quantizer.decode(indices)
    assert torch.equal(quantizer.encode(values), indices)


def test_training_output_has_the_shape_and_a_gradient(quantizer: nn.Module) -> None:
    z = latents(quantizer, 2, 9).requires_grad_()
    quantizer.train()
    out = quantizer(z, generator=stream(0, "noise"))
    assert out.values.shape == z.shape
    assert out.values.dtype == torch.float32
    (out.values * torch.randn(z.shape, generator=stream(2, "w"))).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert z.grad.abs().sum() > 0


def test_an_empty_batch_is_no_accident(quantizer: nn.Module) -> None:
    z = latents(quantizer, 0, 4)
    out = quantizer(z, generator=stream(0, "noise"))
    assert out.values.shape == z.shape
    assert out.indices.shape == (0, 4)
    assert all(torch.isfinite(loss) for loss in out.losses.values())


def test_autocast_and_half_precision_change_no_index(quantizer: nn.Module) -> None:
    z = latents(quantizer, 500)
    want = quantizer.encode(z)
    quantizer.eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(z).indices, want)
        assert torch.equal(quantizer.encode(z), want)
    for dtype in (torch.float16, torch.bfloat16):
        half = z.to(dtype)
        assert torch.equal(quantizer(half).indices, quantizer.encode(half.float()))
        assert quantizer(half).values.dtype == torch.float32


def test_state_comes_back_whole(build: Callable[[], nn.Module], quantizer: nn.Module) -> None:
    """Ten steps, or five, a round trip through the state, and five: the same, bit for bit."""

    def steps(module: nn.Module, numbers: range) -> None:
        module.train()
        for step in numbers:
            out = module(
                latents(quantizer, 50) + stream_shift(step), generator=stream(0, "n", step)
            )
            for parameter in module.parameters():
                parameter.grad = None
            if out.values.requires_grad:
                (out.values.square().mean() + sum(out.losses.values())).backward()
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
            if isinstance(module, ConstellationQuantizer):
                module.after_step()
            elif hasattr(module, "after_step"):
                module.after_step(generator=stream(0, "upkeep", step))

    def fresh() -> nn.Module:
        module = build()
        if isinstance(module, VectorQuantizer):
            module.replacement = Replacement(every=3, until=9, threshold=0.5)
        return module

    straight, first, second = fresh(), fresh(), fresh()
    steps(straight, range(10))
    steps(first, range(5))
    second.load_state_dict(first.state_dict())
    steps(second, range(5, 10))
    for name, value in straight.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def stream_shift(step: int) -> torch.Tensor:
    return torch.randn((), generator=stream(5, "shift", step))


def test_bad_latents_are_refused(quantizer: nn.Module) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        z = torch.zeros_like(latents(quantizer, 4))
        z[2, 1] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            quantizer(z, generator=stream(0, "n"))
        with pytest.raises(ValueError, match="NaN or infinite"):
            quantizer.encode(z)


@pytest.mark.parametrize(("gradient", "learning"), PATHS)
def test_wrong_calls_are_refused(gradient: str, learning: str) -> None:
    quantizer = vector(gradient, learning)
    with pytest.raises(ValueError, match=r"\(\.\.\., 6\)"):
        quantizer(torch.zeros(4, 5))
    if gradient in ("noise", "directional"):
        with pytest.raises(ValueError, match="generator"):
            quantizer(torch.zeros(4, 6))
