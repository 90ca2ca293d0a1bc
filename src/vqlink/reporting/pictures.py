"""One picture of what was sent and what arrived, with a detail of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vqlink.evaluation.send import Arrival, SendResult
from vqlink.sources.images import to_bytes8

_PANEL, _GAP, _CAPTION, _DETAIL = 400, 20, 64, 96
_INK, _MUTED, _PAPER, _MARK, _BAD = "#1b1f24", "#667080", "#ffffff", "#e8590c", "#c92a2a"


@dataclass(frozen=True)
class _Panel:
    picture: Image.Image
    title: str
    figures: str
    lost: bool


def side_by_side(result: SendResult, path: Path) -> None:
    """Write a PNG: the sent picture and each received one, captions, and a detail below each.

    Large pictures are shown smaller; the detail, where the sent picture is busiest, is magnified
    from full size.
    """
    arrivals_beside(result.sent, result.arrivals, path)


def arrivals_beside(image: Tensor, arrivals: Sequence[Arrival], path: Path) -> None:
    """As :func:`side_by_side`, of a picture (3, H, W) and its arrivals over any channel."""
    sent = to_pillow(image)
    panels = [_Panel(sent, "sent", f"{sent.width} x {sent.height}", False)]
    panels += [
        _Panel(to_pillow(a.received), title(a), figures(a), a.status != "ok") for a in arrivals
    ]
    box = _busiest(image)
    columns = [_column(panel, box) for panel in panels]
    per_row = min(len(columns), 5)
    _grid(columns, per_row).save(path, "PNG", optimize=True)


def title(arrival: Arrival) -> str:
    """The system, with the MCS that it took."""
    mcs = arrival.labels.get("mcs")
    named = not mcs or str(mcs) in arrival.system
    return arrival.system if named else f"{arrival.system} ({mcs})"


def figures(arrival: Arrival) -> str:
    """PSNR, and MS-SSIM (SSIM on small pictures), as a caption."""
    structural = "ms_ssim" if "ms_ssim" in arrival.metrics else "ssim"
    text = f"{arrival.metrics['psnr']:.2f} dB"
    if structural in arrival.metrics:
        name = structural.upper().replace("_", "-")
        text += f"   {name} {arrival.metrics[structural]:.3f}"
    return text + ("" if arrival.shown_status == "ok" else f"   {arrival.shown_status}")


def to_pillow(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] -> an 8-bit RGB picture."""
    pixels = to_bytes8(image).permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.cpu().numpy()), "RGB")


def _busiest(image: Tensor) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the window with the most fine detail, off the edges."""
    height, width = image.shape[1:]
    side = min(_DETAIL, height, width)
    grey = image.mean(dim=0)
    detail = grey[1:, 1:].mul(2).sub(grey[:-1, 1:]).sub(grey[1:, :-1]).abs()
    best, where = -1.0, (0, 0)
    margin_y, margin_x = (height - side) // 6, (width - side) // 6
    for top in range(margin_y, height - side - margin_y + 1, max(1, side // 2)):
        for left in range(margin_x, width - side - margin_x + 1, max(1, side // 2)):
            amount = float(detail[top : top + side, left : left + side].mean())
            if amount > best:
                best, where = amount, (left, top)
    return (*where, where[0] + side, where[1] + side)


def _column(panel: _Panel, box: tuple[int, int, int, int]) -> Image.Image:
    scale = _PANEL / max(panel.picture.size)
    size = (max(1, round(panel.picture.width * scale)), max(1, round(panel.picture.height * scale)))
    shown = panel.picture.resize(size, Image.Resampling.LANCZOS)
    marked = ImageDraw.Draw(shown)
    marked.rectangle([round(value * scale) for value in box], outline=_MARK, width=2)
    detail = panel.picture.crop(box).resize((size[0], size[0]), Image.Resampling.NEAREST)
    column = Image.new("RGB", (size[0], _CAPTION + size[1] + _GAP // 2 + size[0]), _PAPER)
    draw = ImageDraw.Draw(column)
    draw.text(
        (0, 6), _shorten(panel.title, size[0], _font(17, bold=True)), _INK, _font(17, bold=True)
    )
    draw.text((0, 34), panel.figures, _BAD if panel.lost else _MUTED, _font(15))
    column.paste(shown, (0, _CAPTION))
    column.paste(detail, (0, _CAPTION + size[1] + _GAP // 2))
    return column


def _grid(columns: Sequence[Image.Image], per_row: int) -> Image.Image:
    width, height = columns[0].size
    rows = -(-len(columns) // per_row)
    sheet = Image.new(
        "RGB",
        (per_row * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP),
        _PAPER,
    )
    for i, column in enumerate(columns):
        at = (_GAP + i % per_row * (width + _GAP), _GAP + i // per_row * (height + _GAP))
        sheet.paste(column, at)
    return sheet


def _shorten(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)
