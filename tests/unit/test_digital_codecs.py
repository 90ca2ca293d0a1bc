"""Source codecs: payloads that decode at any size, damage that is an outage, fits that fit."""

from __future__ import annotations

import io
import math

import numpy as np
import pillow_heif
import pytest
import torch

from tests.conftest import smooth_picture
from vqlink.digital.codecs import CodecError, PillowCodec, SourceCodec, decode_pillow, to_pillow
from vqlink.digital.fit import fit_quality
from vqlink.digital.hevc import HEVCCodec
from vqlink.digital.jpeg_scan import JPEGScanCodec
from vqlink.errors import VqlinkError
from vqlink.metrics.image import ms_ssim, psnr
from vqlink.sources.images import sample_image

CODECS: dict[str, SourceCodec] = {
    "jpeg": PillowCodec("jpeg"),
    "jpeg2000": PillowCodec("jpeg2000"),
    "webp": PillowCodec("webp"),
    "avif": PillowCodec("avif"),
    "hevc": HEVCCodec(),
    "jpeg-scan": JPEGScanCodec(),  # a scan says neither how long nor how large it is
}


def pixels(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return (smooth_picture(height, width, seed) * 255).round().byte()


@pytest.fixture(params=CODECS, name="codec")
def fixture_codec(request: pytest.FixtureRequest) -> SourceCodec:
    return CODECS[request.param]


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (96, 50)])
def test_round_trip_with_a_filled_up_payload(codec: SourceCodec, size: tuple[int, int]) -> None:
    image = pixels(*size)
    fine = codec.encode(image, codec.qualities[-1])
    coarse = codec.encode(image, codec.qualities[0])
    assert len(coarse) <= len(fine)
    # A frame fills a payload up with zeros: the decoder must not mind.
    decoded = codec.decode(fine + bytes(100), *size)
    assert decoded.shape == image.shape
    assert decoded.dtype == torch.uint8
    # Chroma is halved by most, and the test picture is loud; mid-grey would be off by 45.
    assert (decoded.float() - image.float()).abs().mean() < 16


def test_damage_is_a_codec_error(codec: SourceCodec) -> None:
    image = pixels(64, 64)
    payload = codec.encode(image, codec.qualities[len(codec.qualities) // 2])
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        at = int(torch.randint(len(payload) - 8, (1,), generator=generator))
        noise = bytes(torch.randint(256, (8,), generator=generator).tolist())
        damaged = payload[:at] + noise + payload[at + 8 :]
        try:
            assert codec.decode(damaged, 64, 64).shape == image.shape
        except CodecError:
            continue
    for useless in (b"", bytes(200), *([payload[:40]] if codec.name != "jpeg-scan" else [])):
        with pytest.raises(CodecError):
            codec.decode(useless, 64, 64)


def test_a_picture_of_another_size_is_refused(codec: SourceCodec) -> None:
    payload = codec.encode(pixels(96, 96), codec.qualities[10])
    if codec.name == "jpeg-scan":
        pytest.skip("both ends know the size")
    with pytest.raises(CodecError):
        codec.decode(payload, 80, 96)


@pytest.mark.parametrize("size", [(128, 128), (33, 50)])
@pytest.mark.parametrize("quality", [1, 30, 95])
def test_a_jpeg_scan_is_the_same_picture_in_fewer_bytes(
    size: tuple[int, int], quality: int
) -> None:
    image, codec = pixels(*size), JPEGScanCodec()
    whole = io.BytesIO()
    to_pillow(image).save(whole, "JPEG", quality=quality, subsampling="4:2:0")
    payload = codec.encode(image, quality)
    # Two quantisation and four Huffman tables, frame and scan headers: 600 bytes and more.
    assert len(payload) < len(whole.getvalue()) - 600
    assert torch.equal(codec.decode(payload, *size), decode_pillow(whole.getvalue(), *size))


@pytest.mark.parametrize(
    ("name", "width"),
    [("webp", 17_000), ("avif", 66_000), ("jpeg", 66_000), ("jpeg-scan", 66_000)],
)
def test_what_a_format_has_no_room_for_is_one_line(name: str, width: int) -> None:
    with pytest.raises(VqlinkError, match=rf"{name} can't code {width}x16 pixels"):
        CODECS[name].encode(torch.zeros(3, 16, width, dtype=torch.uint8), 50)


@pytest.mark.parametrize("quality", [90, 92, 94, 95])
def test_jpeg_codes_noise_too(quality: int) -> None:
    """Of which a progressive file may be larger than Pillow's buffer."""
    noise = torch.randint(2, (3, 400, 400), generator=torch.Generator().manual_seed(0)) * 255
    payload = CODECS["jpeg"].encode(noise.byte(), quality)
    assert CODECS["jpeg"].decode(payload, 400, 400).shape == (3, 400, 400)


@pytest.mark.parametrize("chroma", [420, 444])
def test_hevc_payload_is_the_stream_without_its_container(chroma: int) -> None:
    image = pixels(72, 88)
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(to_pillow(image))
    heif.save(file, quality=50, chroma=chroma, enc_params={"tune": "psnr"})
    payload = HEVCCodec(chroma).encode(image, 50)
    assert payload.startswith(b"\x00\x00\x01\x40")  # a start code and the VPS
    assert b"ftyp" not in payload
    assert len(payload) < len(file.getvalue()) - 200
    expected = pillow_heif.read_heif(file).to_pillow().convert("RGB")
    decoded = to_pillow(HEVCCodec(chroma).decode(payload, 72, 88))
    assert decoded.tobytes() == expected.tobytes()


def test_each_tuning_is_ahead_in_what_it_is_for() -> None:
    """On a photograph at equal rate; libheif's own choice is SSIM."""
    image = (sample_image("coffee")[:, 50:306, 100:484] * 255).round().byte()
    sent, found = image[None].float() / 255, {}
    for tune in ("psnr", "ssim"):
        codec, points = HEVCCodec(444, tune=tune), []
        for quality in range(24, 61, 6):
            payload = codec.encode(image, quality)
            decoded = codec.decode(payload, 256, 384)[None].float() / 255
            figures = float(psnr(decoded, sent)), float(ms_ssim(decoded, sent))
            points.append((math.log(len(payload)), *figures))
        rates, *curves = zip(*points, strict=True)
        found[tune] = [np.interp(np.log([4000, 6000, 9000]), rates, line) for line in curves]
    file = io.BytesIO()
    pillow_heif.from_pillow(to_pillow(image)).save(file, quality=50, chroma=420)
    assert HEVCCodec(420, tune="ssim").encode(image, 50)[-99:] == file.getvalue()[-99:]
    gains = [a - b for a, b in zip(found["psnr"], found["ssim"], strict=True)]
    assert gains[0].min() > 0.1
    assert gains[1].max() < 0


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_bisection_finds_what_a_search_finds(name: str) -> None:
    codec, image = CODECS[name], pixels(48, 48)
    sizes = {q: len(codec.encode(image, q)) for q in codec.qualities}
    coarsest = sizes[codec.qualities[0]]
    for limit in (coarsest + 20, coarsest + 300, coarsest + 900, 10**6):
        best = max(q for q, size in sizes.items() if size <= limit)
        fit = fit_quality(codec, image, limit)
        assert fit is not None
        assert len(fit.payload) <= limit
        # Sizes may step back once or twice; the fit may then miss the last quality, not the limit.
        assert best - fit.quality <= 2


def test_nothing_fits() -> None:
    assert fit_quality(CODECS["jpeg"], pixels(48, 48), 50) is None
