"""The speech codec: transform, range coder, frames, streams, and their damage."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqlink.digital import laplace
from vqlink.digital.laplace import FrameError, FrameReader, FrameWriter
from vqlink.errors import VqlinkError
from vqlink.layers.mdct import HOP, frame_count, imdct, mdct
from vqlink.metrics.audio import perceptual_snr
from vqlink.sources.voice import synthetic_voice
from vqlink.systems.speech_codec import SpeechCodec, stream_kbps
from vqlink.systems.speech_envelope import BANDS, EnvelopeModel
from vqlink.systems.speech_frames import FRAME_BYTES, RATES_KBPS
from vqlink.zoo.speech import load_speech_codec


@pytest.fixture(name="codec", scope="module")
def fixture_codec() -> SpeechCodec:
    return load_speech_codec()


@pytest.fixture(name="voice", scope="module")
def fixture_voice() -> torch.Tensor:
    return synthetic_voice(3.0)


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 5000])
def test_mdct_reconstructs_and_keeps_energy(samples: int) -> None:
    x = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    spectra = mdct(x)
    assert spectra.shape == (2, frame_count(samples), HOP)
    assert torch.allclose(imdct(spectra, samples), x, atol=1e-5)
    assert float(spectra.square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-4)


def test_mdct_is_the_formula() -> None:
    x = torch.randn(4 * HOP, generator=torch.Generator().manual_seed(1))
    n, k = np.arange(2 * HOP) + 0.5, np.arange(HOP)[:, None] + 0.5
    window = np.sin(np.pi / (2 * HOP) * n)
    cosines = np.cos(np.pi / HOP * (n + HOP / 2) * k)
    wanted = np.sqrt(2 / HOP) * cosines @ (window * x[: 2 * HOP].numpy())
    np.testing.assert_allclose(mdct(x)[1].numpy(), wanted, atol=1e-4)


def test_the_table_is_the_laplace_law() -> None:
    """Probabilities by Monte Carlo, and the entropy of fine steps: log2(2 e b)."""
    random = np.random.default_rng(0)
    row = np.int64(laplace.row_of(np.array([64]), 64)[0])  # b = 2
    q = laplace.quantise(random.laplace(0, 2.0, 200_000).astype(np.float32))
    shares = np.bincount(q + laplace.LARGEST, minlength=255) / q.size
    np.testing.assert_allclose(laplace.tables().probability[row], shares, atol=4e-3)
    fine = laplace.row_of(np.array([64 * 4]), 64)
    assert laplace.entropies(fine)[0] / 256 == pytest.approx(np.log2(2 * np.e * 16), abs=0.02)
    assert (laplace.tables().probability > 0).all()
    np.testing.assert_allclose(laplace.tables().probability.sum(axis=1), 1, atol=1e-5)


def test_values_come_back_at_their_cells_centroid() -> None:
    random = np.random.default_rng(0)
    values = random.laplace(0, 2.0, 200_000).astype(np.float32)
    rows = np.full(values.shape, laplace.row_of(np.array([64]), 64)[0])
    q = laplace.quantise(values)
    back = laplace.dequantise(q, rows)
    for number in (1, 2, 5):
        assert back[q == number][0] == pytest.approx(values[q == number].mean(), abs=0.02)
    assert (back[q == 0] == 0).all()


def test_frames_fit_to_the_byte() -> None:
    """What the model says a frame takes, rounded up to bytes, is what it takes."""
    random = np.random.default_rng(0)
    for _ in range(50):
        rows = random.integers(0, 80, HOP)
        scale = np.exp2(rows / laplace.PER_OCTAVE + laplace.FIRST_OCTAVE)
        q = laplace.quantise(random.laplace(0, scale).astype(np.float32))
        writer = FrameWriter()
        writer.uniform(np.array([4095]), 4096)
        writer.laplace(q, rows)
        bits = 12 + laplace.costs(q, rows).sum() * laplace.COST_UNIT
        size = int(np.ceil(bits / 8))
        data = writer.finish(size) or writer.finish(size + 1)
        assert data is not None
        assert writer.finish(int(bits / 8) - 1) is None
        reader = FrameReader(data)
        assert reader.uniform(1, 4096)[0] == 4095
        np.testing.assert_array_equal(reader.laplace(rows), q)


@pytest.mark.parametrize("kbps", RATES_KBPS)
def test_rate_is_hit_and_measured_in_bytes(
    codec: SpeechCodec, voice: torch.Tensor, kbps: float
) -> None:
    data = codec.encode(voice, kbps)
    assert kbps <= stream_kbps(data, voice.shape[0]) < 1.02 * kbps
    decoded = codec.decode(data)
    assert decoded.lost == 0
    assert decoded.samples.shape == voice.shape
    assert all(len(frame) == FRAME_BYTES[kbps] for frame in codec.frames(voice, kbps))


def test_quality_rises_with_the_rate(codec: SpeechCodec, voice: torch.Tensor) -> None:
    figures = [
        perceptual_snr(codec.decode(codec.encode(voice, k)).samples, voice) for k in RATES_KBPS
    ]
    assert figures == sorted(figures)
    assert figures[0] > 1
    assert figures[-1] > 7


def test_decoding_is_deterministic_and_needs_only_the_tables(
    codec: SpeechCodec, voice: torch.Tensor
) -> None:
    data = codec.encode(voice, 13.2)
    assert data == codec.encode(voice, 13.2)
    bare = EnvelopeModel(codec.envelope.sizes)
    bare.tables.copy_(codec.envelope.tables)
    other = SpeechCodec(bare.eval(), filling=codec.filling)
    assert torch.equal(other.decode(data).samples, codec.decode(data).samples)


def test_odd_recordings(codec: SpeechCodec) -> None:
    """Silence, clicks, full-scale noise, a pure tone, one sample: all fit into their frames."""
    noise = torch.rand(8000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    click = torch.zeros(8000)
    click[4000] = 1.0
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16000)
    for x in (torch.zeros(8000), noise, click, tone, torch.ones(1), torch.ones(8000) * 9):
        for kbps in (8.0, 32.0):
            decoded = codec.decode(codec.encode(x, kbps))
            assert decoded.samples.shape == x.shape
            assert bool(torch.isfinite(decoded.samples).all())
    quiet = codec.decode(codec.encode(torch.zeros(8000), 8.0)).samples
    assert float(quiet.abs().max()) < 1e-3
    back = codec.decode(codec.encode(tone, 32.0)).samples
    assert float((back - tone).square().mean() / tone.square().mean()) < 0.5


def test_damage(codec: SpeechCodec, voice: torch.Tensor) -> None:
    data = codec.encode(voice, 16.4)
    hurt = bytearray(data)
    hurt[200] ^= 0x10
    decoded = codec.decode(bytes(hurt))
    assert decoded.lost == pytest.approx(25 / frame_count(voice.shape[0]), abs=1e-6)
    assert decoded.samples.shape == voice.shape
    assert 0.4 < codec.decode(data[: len(data) // 2]).lost < 0.7
    assert codec.decode(data[:20]).lost == 1
    for bad, message in (
        (b"", "not a vqlink"),
        (b"RIFF" + data, "not a vqlink"),
        (data[:9] + b"\xff" + data[10:], "damaged"),
    ):
        with pytest.raises(VqlinkError, match=message):
            codec.decode(bad)
    with pytest.raises(VqlinkError, match=r"13\.2"):
        codec.encode(voice, 13.0)


def test_random_frames_never_break_the_decoder(codec: SpeechCodec) -> None:
    random = np.random.default_rng(0)
    frames: list[bytes | None] = [random.bytes(41) for _ in range(40)]
    decoded = codec.sound(frames, 39 * HOP)
    assert bool(torch.isfinite(decoded.samples).all())
    refused = 0
    for _ in range(1000):
        try:
            FrameReader(random.bytes(20)).laplace(np.full(HOP, 40))
        except FrameError:
            refused += 1
    assert refused


def test_lost_frames_are_concealed_better_than_by_silence(
    codec: SpeechCodec, voice: torch.Tensor
) -> None:
    frames: list[bytes | None] = list(codec.frames(voice, 24.4))
    whole = codec.sound(frames, voice.shape[0]).samples
    frames[60] = frames[90] = frames[91] = None
    decoded = codec.sound(frames, voice.shape[0])
    assert decoded.lost == pytest.approx(3 / len(frames))
    touched = slice(59 * HOP, 62 * HOP)
    assert torch.equal(decoded.samples[: 59 * HOP], whole[: 59 * HOP])
    energy = float(decoded.samples[touched].square().mean() / whole[touched].square().mean())
    assert 0.2 < energy < 1.2
    nothing = codec.sound([None] * len(frames), voice.shape[0])
    assert nothing.lost == 1
    assert not bool(nothing.samples.any())


def test_another_codecs_stream_is_refused(codec: SpeechCodec, voice: torch.Tensor) -> None:
    other = EnvelopeModel((16,)).eval()
    other.freeze()
    with pytest.raises(VqlinkError, match="other weights"):
        codec.decode(SpeechCodec(other).encode(voice, 8.0))
    with pytest.raises(ValueError, match="freeze"):
        SpeechCodec(EnvelopeModel((16,)))


def test_stages_refine_and_cost_their_bits() -> None:
    torch.manual_seed(0)
    model = EnvelopeModel((16, 64)).eval()
    spectra = mdct(synthetic_voice(2.0) * 32768)
    shape, _ = model.analyse(spectra)
    for stage in model.stages:
        stage.initialise(shape, generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
        shape = shape - stage.decode(stage.encode(shape))  # type: ignore[operator]
    model.freeze()
    levels, indices = model.encode(spectra, stages=2)
    assert indices.shape == (len(spectra), 2)
    wanted = torch.log2(spectra.abs() + 0.3)
    errors = []
    for stages in (1, 2):
        scales, _ = model.decode(levels, indices[:, :stages])
        errors.append(float(np.mean((scales / 64 - wanted.numpy()) ** 2)))
    assert errors[1] < errors[0]
    assert model.bits == (4, 6)
    assert model.tables.shape == (16 + 64 + 1, 2 * BANDS)
    codec = SpeechCodec(model)
    data = codec.encode(synthetic_voice(1.0), 8.0)
    assert codec.decode(data).lost == 0
