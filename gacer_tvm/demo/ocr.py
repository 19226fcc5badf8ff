"""What lies between the three OCR models: images in, boxes, crops, angles and text out. NumPy and SciPy only.

The detector is a DB network (Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", AAAI 2020): its
map holds for each pixel the probability of a shrunken text region. The recognizer is read by CTC best path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

__all__ = ["Box", "boxes", "classifier_input", "crop", "decode", "detector_input", "recognizer_input", "resize", "upright"]

# The paper's binarization threshold, its lowest mean score of a box, and how far a shrunken region is grown again.
_THRESHOLD = 0.3
_BOX_SCORE = 0.5
_UNCLIP = 1.6
_SMALLEST = 3


@dataclass(frozen=True)
class Box:
    """An upright text region ``[top, bottom) x [left, right)`` in pixels, with its mean probability."""

    top: int
    bottom: int
    left: int
    right: int
    score: float


def detector_input(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) → float32 (1, 3, H, W) in BGR order, mean and deviation 0.5."""
    scaled = image[:, :, ::-1].astype(np.float32) / 255.0
    return np.ascontiguousarray(((scaled - 0.5) / 0.5).transpose(2, 0, 1)[None])


def boxes(probability: np.ndarray) -> list[Box]:
    """Text boxes, top to bottom, from a detector's map of shape (1, 1, H, W) or (H, W)."""
    chart = probability.reshape(probability.shape[-2:])
    # Strokes of one line may come apart at thin places.
    mask = ndimage.binary_dilation(chart > _THRESHOLD, np.ones((2, 2)))
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    found = []
    for number, where in enumerate(ndimage.find_objects(labels), 1):
        if where is None:
            continue
        rows, columns = where
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if min(height, width) < _SMALLEST:
            continue
        score = float(chart[where][labels[where] == number].mean())
        if score < _BOX_SCORE:
            continue
        # Regions were shrunk by area * ratio / perimeter in training; grow them by as much.
        grow = height * width * _UNCLIP / (2 * (height + width))
        found.append(
            Box(
                max(0, round(rows.start - grow)),
                min(chart.shape[0], round(rows.stop + grow)),
                max(0, round(columns.start - grow)),
                min(chart.shape[1], round(columns.stop + grow)),
                score,
            )
        )
    return sorted(found, key=lambda box: (box.top + box.bottom, box.left))


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    """The part of an image inside a box."""
    return image[box.top : box.bottom, box.left : box.right]


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of uint8 (H, W, 3), pixel centres aligned (half-pixel), float32 out."""
    rows = np.clip((np.arange(height) + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
    columns = np.clip((np.arange(width) + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down, across = (rows - top)[:, None, None], (columns - left)[None, :, None]
    data = image.astype(np.float32)
    upper = data[top][:, left] * (1 - across) + data[top][:, right] * across
    lower = data[below][:, left] * (1 - across) + data[below][:, right] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)


def _lines(crops: Sequence[np.ndarray], batch: int, height: int, width: int) -> np.ndarray:
    """Crops scaled to one height, padded to one width with zeros, missing ones zero: float32 (batch, 3, height, width)."""
    made = np.zeros((batch, 3, height, width), np.float32)
    for number, part in enumerate(crops[:batch]):
        if part.size == 0:
            continue
        wide = min(width, max(1, round(height * part.shape[1] / part.shape[0])))
        scaled = resize(part[:, :, ::-1], height, wide) / 255.0
        made[number, :, :, :wide] = ((scaled - 0.5) / 0.5).transpose(2, 0, 1)
    return made


def classifier_input(crops: Sequence[np.ndarray], batch: int) -> np.ndarray:
    """Crops → float32 (batch, 3, 48, 192) for the angle classifier."""
    return _lines(crops, batch, 48, 192)


def recognizer_input(crops: Sequence[np.ndarray], batch: int, width: int) -> np.ndarray:
    """Crops → float32 (batch, 3, 48, width) for the recognizer."""
    return _lines(crops, batch, 48, width)


def upright(crops: Sequence[np.ndarray], angles: np.ndarray) -> list[np.ndarray]:
    """Turn round the crops that the classifier's output (N, 2) calls upside down with at least 0.9."""
    return [part[::-1, ::-1] if angle[1] > 0.9 else part for part, angle in zip(crops, angles)]


def decode(scores: np.ndarray, characters: Sequence[str]) -> list[str]:
    """Text of each line from a recognizer's output (N, T, classes) by CTC best path; class 0 is the blank."""
    texts = []
    for line in scores.argmax(axis=2):
        kept = [k for n, k in enumerate(line) if k and (n == 0 or k != line[n - 1])]
        texts.append("".join(characters[k - 1] for k in kept))
    return texts
