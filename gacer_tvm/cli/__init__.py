"""The command line ``gacer-tvm``: one module a command."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
