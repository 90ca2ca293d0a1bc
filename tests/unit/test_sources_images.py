"""Every format and colour mode is read right, and every bad file gives one clear line."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torch import Tensor

from vqlink.protocols import VqlinkError
from vqlink.sources import images
from vqlink.sources.images import (
    MAX_PIXELS,
    SAMPLES,
    decode_image,
    open_image,
    read_image,
    sample_image,
    to_bytes8,
    write_image,
)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture that lossy codecs keep: slow gradients, different in each colour."""
    y, x = np.mgrid[0:height, 0:width]
    colours = (x / width, y / height, (x + y) / (height + width))
    return (255 * np.stack(colours, -1)).round().astype(np.uint8)


def error_of(path: Path | str) -> str:
    with pytest.raises(VqlinkError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and then holds almost no data: decoding it would fail."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (61, 48)])
@pytest.mark.parametrize(
    ("suffix", "format_name", "options", "worst"),
    [
        ("png", "PNG", {}, 0),
        ("tif", "TIFF", {}, 0),
        ("tiff", "TIFF", {"compression": "tiff_lzw"}, 0),
        ("bmp", "BMP", {}, 0),
        ("webp", "WEBP", {"lossless": True, "exact": True}, 0),
        ("webp", "WEBP", {"quality": 95}, 16),
        ("jpg", "JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("avif", "AVIF", {"quality": 95}, 12),
        ("heic", "HEIF", {"quality": 95}, 16),
        ("jp2", "JPEG2000", {}, 0),
    ],
)
def test_formats_round_trip(
    tmp_path: Path,
    size: tuple[int, int],
    suffix: str,
    format_name: str,
    options: dict[str, object],
    worst: int,
) -> None:
    if format_name == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    pixels = smooth(*size)
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(pixels).save(path, format=format_name, **options)
    image = read_image(path)
    assert image.shape == (3, *size)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    got = to_bytes8(image).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(got - pixels).max() <= worst


def test_heic_is_read_without_prior_registration(tmp_path: Path) -> None:
    """In a fresh process: the opener is registered by reading, and not by importing vqlink."""
    from pillow_heif import from_pillow

    from_pillow(Image.fromarray(smooth(32, 48))).save(tmp_path / "a.heic", quality=90)
    code = (
        "import sys; from vqlink.sources.images import read_image\n"
        "assert 'pillow_heif' not in sys.modules\n"
        f"print(tuple(read_image({str(tmp_path / 'a.heic')!r}).shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(3, 32, 48)"


def saved(picture: Image.Image, tmp_path: Path, suffix: str = "png", **options: object) -> Tensor:
    path = tmp_path / f"picture.{suffix}"
    picture.save(path, **options)
    return read_image(path)


def test_grey_palette_and_bilevel_are_repeated_over_colours(tmp_path: Path) -> None:
    grey = smooth(20, 30)[..., 0]
    wanted = torch.from_numpy(grey / np.float32(255.0)).expand(3, -1, -1)
    assert torch.equal(saved(Image.fromarray(grey), tmp_path), wanted)
    palette = Image.fromarray(grey).convert("P")
    assert torch.equal(saved(palette, tmp_path), wanted)
    bilevel = saved(Image.fromarray(grey > 128), tmp_path)
    assert torch.equal(bilevel, torch.from_numpy(grey > 128).float().expand(3, -1, -1))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_keeps_its_precision(tmp_path: Path, suffix: str) -> None:
    grey = np.linspace(0, 65535, 20 * 30).round().astype(np.uint16).reshape(20, 30)
    image = saved(Image.fromarray(grey), tmp_path, suffix)
    wanted = torch.from_numpy(grey.astype(np.float32) / 65535.0)
    torch.testing.assert_close(image, wanted.expand(3, -1, -1), rtol=0, atol=1e-7)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, :8, 3] = 255
    rgba[:, 8:12, 3] = 51  # a fifth opaque
    image = to_bytes8(saved(Image.fromarray(rgba), tmp_path))
    assert image[:, 0, 0].tolist() == [200, 0, 0]
    assert image[:, 0, 9].tolist() == [244, 204, 204]
    assert image[:, 0, 15].tolist() == [255, 255, 255]
    grey = Image.fromarray(rgba).convert("LA")
    assert to_bytes8(saved(grey, tmp_path))[:, 0, 15].tolist() == [255, 255, 255]
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert to_bytes8(saved(palette, tmp_path))[:, 0, 0].tolist() == [10, 20, 30]
    transparent = to_bytes8(saved(palette, tmp_path, transparency=1))
    assert transparent[:, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 1] = 255  # full magenta
    image = saved(Image.fromarray(cmyk, mode="CMYK"), tmp_path, suffix)
    torch.testing.assert_close(image[:, 8, 8], torch.tensor([1.0, 0.0, 1.0]), rtol=0, atol=0.03)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str) -> None:
    upright = smooth(40, 24)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    image = saved(stored, tmp_path, suffix, exif=exif)
    assert image.shape == (3, 40, 24)
    wanted = torch.from_numpy(upright).permute(2, 0, 1) / 255.0
    assert (image - wanted).abs().mean() < 0.02


def test_32_bit_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    Image.fromarray(np.ones((16, 16), np.float32)).save(path)
    assert "8 or 16 bits" in error_of(path)


def test_missing_folder_and_text(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.png").endswith("none.png: no such file")
    assert error_of(tmp_path).endswith("is a folder, not an image")
    text = tmp_path / "text.png"
    text.write_text("I am no picture\n" * 50)
    assert "not an image" in error_of(text)
    text.write_bytes(b"")
    assert "not an image" in error_of(text)
    assert "cannot be read" in error_of(tmp_path / ("long" * 200))
    assert "cannot be read" in error_of("a\0b.png")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")

    def refuse(*_: object) -> None:  # root may read everything, so the refusal is simulated
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert error_of(path).endswith("no permission to read it")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("suffix", "format_name"),
    [
        ("jpg", "JPEG"),
        ("png", "PNG"),
        ("webp", "WEBP"),
        ("avif", "AVIF"),
        ("heic", "HEIF"),
        ("tif", "TIFF"),
        ("jp2", "JPEG2000"),
    ],
)
def test_truncated_files_are_refused(
    tmp_path: Path, suffix: str, format_name: str, kept: float
) -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    noise = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    Image.fromarray(noise.to(torch.uint8).numpy()).save(buffer, format=format_name)
    data = buffer.getvalue()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data)
    read_image(path)
    path.write_bytes(data[: int(len(data) * kept)])
    assert f"cut.{suffix}: " in error_of(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_sizes_are_checked_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    path = tmp_path / "bomb.png"
    for width, height in [(10_000, 10_000), (5_000, 4_001), (30_000, 30_000)]:
        path.write_bytes(png_header(width, height))
        assert "more than 20 megapixels" in error_of(path)
    path.write_bytes(png_header(1, 1))
    assert "1x1 is too small" in error_of(path)
    path.write_bytes(png_header(15, 400))
    assert "15x400 is too small" in error_of(path)
    # exactly at the limits the size is no reason to refuse: decoding starts
    for width, height in [(5_000, MAX_PIXELS // 5_000), (16, 16)]:
        path.write_bytes(png_header(width, height))
        with pytest.raises(VqlinkError, match="the pixels were decoded"):
            read_image(path)


def test_decode_image_names_the_source() -> None:
    with pytest.raises(VqlinkError, match="table, row 3: not an image"):
        decode_image(b"nonsense", "table, row 3")


def test_write_image_round_trips_and_rounds(tmp_path: Path) -> None:
    image = torch.rand(3, 19, 33, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2
    path = tmp_path / "out.png"
    write_image(image, path)
    assert torch.equal(to_bytes8(read_image(path)), to_bytes8(image))
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")


def test_write_image_errors(tmp_path: Path) -> None:
    image = torch.zeros(3, 16, 16)
    with pytest.raises(VqlinkError, match=r"end in \.png"):
        write_image(image, tmp_path / "a.jpg")
    with pytest.raises(VqlinkError, match="cannot be written"):
        write_image(image, tmp_path / "no" / "a.png")
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        write_image(image[0], tmp_path / "a.png")


def test_to_bytes8() -> None:
    values = torch.tensor([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 254.4 / 255, 254.6 / 255, 7.0])
    assert to_bytes8(values).tolist() == [0, 0, 0, 1, 254, 255, 255]
    levels = torch.arange(256)
    assert torch.equal(to_bytes8(levels / 255.0).long(), levels)
    with pytest.raises(ValueError, match="NaN"):
        to_bytes8(torch.tensor([0.5, float("nan")]))


def test_samples() -> None:
    skimage_data = pytest.importorskip("skimage.data")
    astronaut = sample_image("sample:astronaut")
    assert torch.equal(
        to_bytes8(astronaut).permute(1, 2, 0), torch.tensor(skimage_data.astronaut())
    )
    assert torch.equal(open_image("sample:astronaut"), astronaut)
    for name in SAMPLES:
        assert min(sample_image(name).shape[1:]) >= 300
    with pytest.raises(VqlinkError, match="no sample 'dog'; there are astronaut, "):
        sample_image("dog")


def test_samples_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_spec", lambda _: None)
    with pytest.raises(VqlinkError, match="pip install scikit-image"):
        open_image("sample:coffee")
