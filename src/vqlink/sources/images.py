"""Reading and writing photographs: files and bundled samples <-> (3, H, W) tensors.

An image is a float32 tensor (3, H, W), R'G'B' in [0, 1], with the values as the file stores them:
colour profiles (ICC) are not applied. Grey is repeated over the colours, transparency is laid on
white, EXIF orientation is applied, of an animation the first frame is taken. Eight-bit files give
exact multiples of 1/255, 16-bit grey multiples of 1/65535.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vqlink.errors import VqlinkError, one_line

MIN_SIDE = 16
"""Shortest side, in pixels, that is read."""
MAX_PIXELS = 20_000_000
"""Most pixels that are read; larger files are refused by their header, before decoding."""
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff"),
    *(".bmp", ".jp2", ".ppm", ".pgm"),
)
"""File name endings that count as images when a folder is searched."""
SAMPLES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}
"""Photographs that come inside scikit-image's wheel, by the name after ``sample:``."""

# Only formats with a header that tells the size, and none that start other programs (EPS).
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM")


def open_image(location: str) -> Tensor:
    """The image at ``location``, a path or ``"sample:NAME"``, as float32 (3, H, W) in [0, 1].

    Raises:
        VqlinkError: as :func:`read_image` and :func:`sample_image`.
    """
    if location.startswith("sample:"):
        return sample_image(location)
    return read_image(location)


def sample_image(name: str) -> Tensor:
    """A photograph bundled with scikit-image, by its name in :data:`SAMPLES`.

    Args:
        name: ``"astronaut"`` or ``"sample:astronaut"``, and so on.

    Returns:
        float32 (3, H, W) in [0, 1].

    Raises:
        VqlinkError: no such sample, or scikit-image is not installed or lacks the picture.
    """
    key = name.removeprefix("sample:")
    if key not in SAMPLES:
        raise VqlinkError(f"there is no sample {key!r}; there are {', '.join(SAMPLES)}")
    # Located, not imported: importing scikit-image would cost more than reading the picture.
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise VqlinkError(f"sample:{key} comes with scikit-image: pip install scikit-image")
    path = Path(package.origin).parent / "data" / SAMPLES[key]
    if not path.is_file():
        raise VqlinkError(f"this version of scikit-image does not come with sample:{key}")
    return read_image(path)


def read_image(path: str | Path) -> Tensor:
    """Read PNG, JPEG, WebP, AVIF, HEIC, TIFF, BMP, JPEG 2000 or PPM.

    Returns:
        float32 (3, H, W) in [0, 1]; see the module's text for how other colour modes are mapped.

    Raises:
        VqlinkError: the file is missing, unreadable, no image, damaged, has a side below
            :data:`MIN_SIDE` or more than :data:`MAX_PIXELS` pixels.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise VqlinkError(f"{path}: is a folder, not an image")
        with path.open("rb") as file:
            return _decode(file, str(path))
    except FileNotFoundError:
        raise VqlinkError(f"{path}: no such file") from None
    except PermissionError:
        raise VqlinkError(f"{path}: no permission to read it") from None
    except (OSError, ValueError) as error:  # too long a name, a NUL in it, a failing disk
        raise VqlinkError(f"{one_line(str(path))}: cannot be read ({one_line(error)})") from None


def decode_image(data: bytes, name: str) -> Tensor:
    """As :func:`read_image`, from a file's bytes; ``name`` is used in error messages."""
    return _decode(io.BytesIO(data), name)


def to_bytes8(image: Tensor) -> Tensor:
    """The 8-bit pixels of an image in [0, 1], any shape: ``round(255 * clamp(image, 0, 1))``.

    Raises:
        ValueError: where a value is NaN.
    """
    if bool(torch.isnan(image).any()):
        raise ValueError("the image holds NaN")
    return (image.clamp(0.0, 1.0) * 255.0).round_().to(torch.uint8)


def write_image(image: Tensor, path: str | Path) -> None:
    """Write a (3, H, W) image in [0, 1] as an 8-bit PNG.

    Raises:
        VqlinkError: the path doesn't end in ``.png`` or can't be written.
        ValueError: ``image`` has another shape or holds NaN.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image is (3, H, W), not {tuple(image.shape)}")
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise VqlinkError(f"{path}: images are written as PNG; let the name end in .png")
    pixels = to_bytes8(image.detach()).permute(1, 2, 0).contiguous().cpu().numpy()
    try:
        Image.fromarray(pixels).save(path, format="PNG", compress_level=4)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise VqlinkError(f"{path}: cannot be written ({reason})") from None


def _decode(file: BinaryIO, name: str) -> Tensor:
    with _opened(file, name) as picture:
        _check_size(picture.size, name)
        # Pillow opens grey PGM files of 16 bits as 32-bit ones, scaled to 65,535.
        deep_grey = picture.mode == "I" and picture.format == "PPM"
        return _to_tensor(ImageOps.exif_transpose(picture), name, deep_grey=deep_grey)


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """Pillow's picture, its header alone read; what Pillow throws, here or later, as one line."""
    formats = _formats_for(file)
    try:
        # Pillow's warnings are about oddities in tags, and about sizes that we refuse anyway.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as picture:
                yield picture
    except VqlinkError:
        raise
    except UnidentifiedImageError:
        raise VqlinkError(f"{name}: not an image in a known format, or a damaged one") from None
    except Image.DecompressionBombError:
        raise VqlinkError(f"{name}: has more than {MAX_PIXELS // 10**6} megapixels") from None
    except Exception as error:  # damaged files make decoders raise nearly every exception there is
        raise VqlinkError(f"{name}: damaged or cut short ({one_line(error)})") from None


def _formats_for(file: BinaryIO) -> tuple[str, ...]:
    """Pillow's decoders to try; imports libheif only for files of the HEIF family."""
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp" or head[8:12] in (b"avif", b"avis"):
        return _FORMATS
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return (*_FORMATS, "HEIF")


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 10**6} megapixels"
        raise VqlinkError(f"{name}: {width}x{height} is more than {limit}; make it smaller")
    if min(width, height) < MIN_SIDE:
        raise VqlinkError(f"{name}: {width}x{height} is too small; {MIN_SIDE}x{MIN_SIDE} is least")


def _to_tensor(picture: Image.Image, name: str, *, deep_grey: bool) -> Tensor:
    if picture.mode.startswith("I;16") or deep_grey:
        grey = np.asarray(picture).astype(np.float32) / 65535.0
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous()
    if picture.mode in ("I", "F"):
        raise VqlinkError(f"{name}: 32-bit samples are not read; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    planes = pixels.permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.div_(255.0)
