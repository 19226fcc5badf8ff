"""Pages of text lines, drawn with Pillow; some lines stand on their heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import GacerError

__all__ = ["Page", "draw_page", "pages"]

# The recognizer was trained on Chinese print and is not sure of spaces in Latin text. These are lines that it reads with a
# margin: the same with noise of up to 8 grey levels on every pixel, either way up, on any CPU.
_TEXTS = (
    ("Streams and events", "Page three of nine", "Batch size eight"),
    ("Co-located tenants", "Chapter eleven", "Made in Europe"),
    ("The quick brown fox jumps", "Paid in full", "EUR 1,284.50"),
)
_MORE = (
    "Printed on paper",
    "Open until 18:00",
    "Nothing is ever dropped",
    "3.14159265",
    "Signed and delivered",
)


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes
    ----------
    image
        uint8 RGB of shape (height, width, 3).
    lines
        The text lines from top to bottom.
    upside_down
        For each line whether it is drawn rotated by 180 degrees.
    """

    image: np.ndarray
    lines: tuple[str, ...]
    upside_down: tuple[bool, ...]


def draw_page(lines: tuple[str, ...], *, width: int, height: int, size: int, turned: tuple[int, ...] = ()) -> Page:
    """Draw text lines below each other.

    Parameters
    ----------
    lines
        Texts, top to bottom.
    width, height
        Of the page, pixels.
    size
        Font size, pixels.
    turned
        Indices of the lines to draw upside down.
    """
    image_module, draw_module, font_module = _pillow()
    image = image_module.new("RGB", (width, height), (250, 249, 245))
    font = font_module.load_default(size)
    step = height // len(lines)
    for number, text in enumerate(lines):
        left, top, right, bottom = font.getbbox(text)
        tile = image_module.new("RGB", (int(right - left) + 4, int(bottom - top) + 4), (250, 249, 245))
        draw_module.Draw(tile).text((2 - left, 2 - top), text, fill=(25, 25, 35), font=font)
        if number in turned:
            tile = tile.rotate(180)
        image.paste(tile, (24 + (number * 7) % 20, number * step + (step - tile.height) // 2))
    return Page(np.asarray(image), lines, tuple(n in turned for n in range(len(lines))))


def pages(count: int, *, lines: int = 8, width: int = 480, height: int = 448, size: int = 24) -> list[Page]:
    """`count` different pages of `lines` lines each; on every page two lines are upside down."""
    made = []
    for number in range(count):
        texts = (*_TEXTS[number % len(_TEXTS)], *_TEXTS[(number + 1) % len(_TEXTS)], *_MORE)
        turned = (1 + number % 3, 5)
        made.append(draw_page(texts[:lines], width=width, height=height, size=size, turned=turned))
    return made


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise GacerError("the demo draws its pages with Pillow: pip install 'gacer-tvm[demo]'") from error
    return Image, ImageDraw, ImageFont
