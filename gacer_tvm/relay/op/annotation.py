"""Annotations, which compute nothing: `relay.annotation`."""

from __future__ import annotations

from gacer_tvm.relay.op.build import operator

__all__ = ["checkpoint", "compiler_begin", "compiler_end", "stop_fusion"]

stop_fusion = operator("annotation.stop_fusion", "data")
checkpoint = operator("annotation.checkpoint", "data")
compiler_begin = operator("annotation.compiler_begin", "data", "compiler")
compiler_end = operator("annotation.compiler_end", "data", "compiler")
