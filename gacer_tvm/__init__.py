"""gacer_tvm: several deep-learning models, one device, one regulated executable.

>>> exe = gacer_tvm.build({"detector": "det.onnx", "classifier": relax_module}, target="cuda")   # doctest: +SKIP
>>> outputs = exe.run({"detector": {"x": image}, "classifier": {"data": crop}})                  # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from . import errors
from . import search as _search_stage  # noqa: F401  the stage's module first: the function below takes its name
from . import tune as _tune_stage  # noqa: F401
from .api import search, tune
from .errors import GacerError

if TYPE_CHECKING:
    from .cost import Device
    from .executable import Executable, build
    from .executable.bundle import load
    from .frontend import Tenant
    from .schedule import Schedule

try:
    __version__ = version("gacer-tvm")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.1.0"

# Importing TVM takes seconds: names are looked up when they are first used.
_LAZY = {
    "Device": "gacer_tvm.cost",
    "Executable": "gacer_tvm.executable",
    "Schedule": "gacer_tvm.schedule",
    "Tenant": "gacer_tvm.frontend",
    "build": "gacer_tvm.executable",
    "load": "gacer_tvm.executable.bundle",
}

__all__ = ["Device", "Executable", "GacerError", "Schedule", "Tenant", "build", "errors", "load", "search", "tune"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gacer_tvm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
