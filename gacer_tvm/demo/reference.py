"""The same three models in ONNX Runtime: the truth for the demo's numbers, and its plain ways as a side of the timing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["OnnxRuntime"]


class OnnxRuntime:
    """Sessions of three models, run one after the other (all cores each) or side by side (one core each)."""

    def __init__(self, files: Mapping[str, Path], cores: int) -> None:
        import onnxruntime

        def sessions(threads: int) -> dict[str, Any]:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # Idle workers would spin on the cores that the other side is measured on.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return {name: onnxruntime.InferenceSession(str(file), options) for name, file in files.items()}

        self._whole = sessions(cores)
        self._single = sessions(1)
        self._pool = ThreadPoolExecutor(len(files))

    def sequential(self, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
        """One model after the other, each on all cores."""
        return {name: self._whole[name].run(None, dict(arrays)) for name, arrays in inputs.items()}

    def parallel(self, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
        """All models at once, one core each."""
        waiting = {
            name: self._pool.submit(self._single[name].run, None, dict(arrays)) for name, arrays in inputs.items()
        }
        return {name: future.result() for name, future in waiting.items()}
