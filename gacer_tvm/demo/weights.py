"""Where the demo's real weights come from: PP-OCRv4, as the wheel ``rapidocr-onnxruntime`` carries it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import GacerError

__all__ = ["alphabet", "model_files"]


def model_files() -> dict[str, Path]:
    """The three ONNX files by tenant: detector, angle classifier, recognizer.

    Raises
    ------
    GacerError
        Where the wheel is not installed.
    """
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is None or not found.submodule_search_locations:
        raise GacerError(
            "the demo's weights are missing: pip install --no-deps rapidocr-onnxruntime==1.4.4 (or run `make demo`)"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "models"
    return {
        "det": folder / "ch_PP-OCRv4_det_infer.onnx",
        "cls": folder / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "rec": folder / "ch_PP-OCRv4_rec_infer.onnx",
    }


def alphabet(recognizer: Path) -> list[str]:
    """The characters that the recognizer knows, in the order of its classes (the blank aside); the last one is the space."""
    import onnx

    for entry in onnx.load(str(recognizer)).metadata_props:
        if entry.key == "character":
            return [*entry.value.splitlines(), " "]
    raise GacerError(f"{recognizer} carries no alphabet (metadata 'character')")
