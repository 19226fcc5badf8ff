"""Three models as a pipeline over pages: in every round all of them run together, each on another page.

    round    0        1         2          3
    det      page 0   page 1    page 2     …
    cls               page 0    page 1     …          (upside down or not)
    rec                         page 0     page 1     (text)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import ocr
from .page import Page

__all__ = ["BATCH", "read_pages", "shapes"]

# Lines a page, and the width that the recognizer sees.
BATCH = 8
WIDTH = 640

Arrays = Mapping[str, np.ndarray]
# One round of the three models: inputs by tenant to outputs by tenant.
Round = Callable[[dict[str, Arrays]], Mapping[str, Sequence[Any]]]


def shapes(page: Page) -> dict[str, tuple[int, ...]]:
    """Input shape of each model for pages of this size."""
    height, width = page.image.shape[:2]
    return {"det": (1, 3, height, width), "cls": (BATCH, 3, 48, 192), "rec": (BATCH, 3, 48, WIDTH)}


def read_pages(pages: Sequence[Page], characters: Sequence[str], run: Round) -> tuple[list[list[str]], list[dict[str, Arrays]]]:
    """Read every page.

    Parameters
    ----------
    pages
        Pages of one size, at most `BATCH` lines each.
    characters
        The recognizer's alphabet.
    run
        Runs the three models once.

    Returns
    -------
    texts, fed
        The lines read on each page, and what was fed in each round (for measuring on real inputs).
    """
    idle = {name: np.zeros(shape, np.float32) for name, shape in shapes(pages[0]).items()}
    texts: list[list[str]] = [[] for _ in pages]
    crops: dict[int, list[np.ndarray]] = {}
    fed = []
    for turn in range(len(pages) + 2):
        inputs: dict[str, Arrays] = {name: {"x": value} for name, value in idle.items()}
        if turn < len(pages):
            inputs["det"] = {"x": ocr.detector_input(pages[turn].image)}
        if turn - 1 in crops:
            inputs["cls"] = {"x": ocr.classifier_input(crops[turn - 1], BATCH)}
        if turn - 2 in crops:
            inputs["rec"] = {"x": ocr.recognizer_input(crops[turn - 2], BATCH, WIDTH)}
        fed.append(inputs)
        outputs = run(inputs)
        if turn - 2 in crops:
            done = crops.pop(turn - 2)
            read = ocr.decode(np.asarray(outputs["rec"][0]), characters)[: len(done)]
            texts[turn - 2] = [text.strip() for text in read]  # a box's margin is sometimes read as a space
        if turn - 1 in crops:
            crops[turn - 1] = ocr.upright(crops[turn - 1], np.asarray(outputs["cls"][0]))
        if turn < len(pages):
            page = pages[turn]
            crops[turn] = [ocr.crop(page.image, box) for box in ocr.boxes(np.asarray(outputs["det"][0]))][:BATCH]
    return texts, fed
