"""Relay's operators as Python functions, with TVM's names, parameters and defaults: `relay.add`, `relay.nn.conv2d`."""

from __future__ import annotations

from gacer_tvm.relay.op import annotation, image, nn, reduce, tensor, transform, vision
from gacer_tvm.relay.op.reduce import *  # noqa: F403
from gacer_tvm.relay.op.tensor import *  # noqa: F403
from gacer_tvm.relay.op.transform import *  # noqa: F403

__all__ = ["annotation", "image", "nn", "vision", *reduce.__all__, *tensor.__all__, *transform.__all__]
