"""TVM's tensor-core instructions, which take a minute to import as they are and a few seconds as they are imported here.

Each of their thousands of parsed functions looks at the whole call stack, source lines and modules included, to find out
whether it stands inside a class. None does; while they load, a stack is its frames.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
from typing import Any

__all__ = ["load_tensor_intrinsics"]

_NAME = "tvm.s_tir.tensor_intrin"
_LOCK = threading.Lock()


def load_tensor_intrinsics() -> None:
    """Import the tensor-core instructions, once a process."""
    with _LOCK:
        if _NAME in sys.modules:
            return
        frames, modules, stack = inspect.getouterframes, inspect.getmodule, inspect.stack
        known: dict[str, Any] = {}

        def module_of(item: Any, filename: str | None = None) -> Any:
            code = item.f_code if inspect.isframe(item) else item
            if not inspect.iscode(code):
                return modules(item, filename)
            if code.co_filename not in known:
                known[code.co_filename] = modules(item, filename)
            return known[code.co_filename]

        def frames_of(frame: Any, context: int = 1) -> Any:
            return frames(frame, 0)

        def whole_stack(context: int = 1) -> Any:
            return frames(sys._getframe(1), 0)

        patched: Any = inspect
        try:
            patched.getouterframes, patched.getmodule, patched.stack = frames_of, module_of, whole_stack
            importlib.import_module(_NAME)
        finally:
            patched.getouterframes, patched.getmodule, patched.stack = frames, modules, stack
