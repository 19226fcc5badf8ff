"""The demo's pages, boxes, crops and text, held against what was drawn, with ONNX Runtime as the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the demo extra (Pillow) is not installed")

from gacer_tvm.demo import ocr, weights
from gacer_tvm.demo.page import draw_page, pages
from gacer_tvm.demo.pipeline import BATCH, read_pages, shapes
from gacer_tvm.errors import GacerError


@pytest.fixture(scope="module")
def sessions() -> dict[str, Any]:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="the onnx extra is not installed")
    try:
        files = weights.model_files()
    except GacerError as error:
        pytest.skip(str(error))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    return {name: runtime.InferenceSession(str(path), options) for name, path in files.items()}


def test_every_line_is_read_as_it_was_drawn(sessions):
    drawn = pages(3)
    assert any(any(page.upside_down) for page in drawn)

    def run(inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
        return {name: sessions[name].run(None, dict(arrays)) for name, arrays in inputs.items()}

    texts, fed = read_pages(drawn, weights.alphabet(weights.model_files()["rec"]), run)
    assert texts == [list(page.lines) for page in drawn]
    for inputs in fed:
        assert {name: arrays["x"].shape for name, arrays in inputs.items()} == shapes(drawn[0])


def test_boxes_stand_where_the_lines_were_drawn(sessions):
    page = draw_page(("First line", "Another one", "Third"), width=320, height=192, size=24)
    found = ocr.boxes(sessions["det"].run(None, {"x": ocr.detector_input(page.image)})[0])
    assert len(found) == 3
    ink = page.image.min(axis=2) < 128
    for number, box in enumerate(found):
        band = ink[number * 64 : number * 64 + 64]
        rows, columns = np.flatnonzero(band.any(axis=1)) + number * 64, np.flatnonzero(band.any(axis=0))
        assert box.top <= rows[0] and rows[-1] < box.bottom and box.bottom - box.top < 64
        assert box.left <= columns[0] + 2 and columns[-1] - 2 < box.right


def test_boxes_of_a_drawn_map():
    chart = np.zeros((64, 96), np.float32)
    chart[10:20, 8:60] = 0.9  # a line
    chart[40:50, 30:90] = 0.4  # found, but not sure enough
    chart[60:62, 5:6] = 1.0  # a speck
    (box,) = ocr.boxes(chart[None, None])
    # Grown by area * 1.6 / perimeter, about 6.9 pixels for 10 x 52.
    assert box.top < 10 - 5 and box.bottom > 20 + 5 and box.left < 8 and box.right > 60 + 5
    assert box.score == pytest.approx(0.9, abs=0.15)
    assert ocr.boxes(np.zeros((32, 32), np.float32)) == []


def test_ctc_merges_repeats_but_not_across_blanks():
    scores = np.zeros((1, 8, 4), np.float32)
    for step, best in enumerate([1, 1, 0, 1, 2, 2, 0, 3]):
        scores[0, step, best] = 1.0
    assert ocr.decode(scores, ["a", "b", " "]) == ["aab "]
    assert ocr.decode(np.eye(4, dtype=np.float32)[None, :1], ["a", "b", "c"]) == [""]


def test_lines_are_scaled_padded_and_turned():
    wide, narrow = np.full((24, 480, 3), 255, np.uint8), np.full((24, 24, 3), 255, np.uint8)
    batch = ocr.recognizer_input([wide, narrow], BATCH, 320)
    assert batch.shape == (BATCH, 3, 48, 320) and batch.dtype == np.float32
    assert (batch[0] == 1).all() and (batch[1, :, :, :48] == 1).all()
    assert not batch[1, :, :, 48:].any() and not batch[2:].any()
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned, kept = ocr.upright([picture, picture], np.array([[0.01, 0.99], [0.2, 0.8]]))
    assert (turned == picture[::-1, ::-1]).all() and (kept == picture).all()


@pytest.mark.parametrize(("height", "width"), [(48, 96), (10, 7), (24, 40)])
def test_resize_is_the_half_pixel_bilinear_one(height, width):
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3)).astype(np.uint8)
    planes = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    found = ocr.resize(image, height, width)
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=1e-2)
