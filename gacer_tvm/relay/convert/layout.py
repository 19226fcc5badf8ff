"""Changing layouts, blocked ones included."""

from __future__ import annotations

import typing

from gacer_tvm._tvm import relax
from gacer_tvm.relay.convert.emitter import Emitter, Rx
from gacer_tvm.relay.convert.registry import converter
from gacer_tvm.relay.layout import parse_layout
from gacer_tvm.relay.values import OpCall

__all__ = ["change_layout", "to_layout"]


@converter("layout_transform")
def _layout_transform(e: Emitter, call: OpCall, data: Rx) -> Rx:
    return change_layout(e, data, call.attr("src_layout"), call.attr("dst_layout"))


def change_layout(e: Emitter, data: Rx, source: str, target: str) -> Rx:
    """A tensor of one layout in another, blocked ones included; a block that does not divide is padded with zeros."""
    if source == target:
        return e.emit(data)
    primal = parse_layout(target).primal
    return _from_primal(e, to_layout(e, data, source, primal), primal, target)


def to_layout(e: Emitter, data: Rx, source: str, primal: str) -> Rx:
    """A tensor of the layout `source`, possibly blocked, in the unblocked layout `primal`."""
    layout = parse_layout(source)
    names = [name for name, _ in layout.axes]
    data = e.emit(data)
    if layout.blocked:
        order = [names.index(n) for name in primal for n in (name, name.lower()) if n in names]
        sizes = dict(zip(names, e.shape(data)))
        data = e.permute(data, order)
        return e.reshape(data, [sizes[name] * sizes.get(name.lower(), 1) for name in primal])
    return e.permute(data, [names.index(name) for name in primal])


def _from_primal(e: Emitter, data: Rx, primal: str, target: str) -> Rx:
    layout = parse_layout(target)
    if not layout.blocked:
        return e.permute(data, [primal.index(name) for name, _ in layout.axes])
    sizes = dict(zip(primal, e.shape(e.emit(data))))
    pads = [(-sizes[name]) % layout.factor(name) if isinstance(sizes[name], int) else 0 for name in primal]
    if any(pads):
        data = e.emit(relax.op.nn.pad(data, [number for pad in pads for number in (0, pad)]), "pad")
    shape: list[typing.Any] = []
    split: list[str] = []
    for name, pad in zip(primal, pads):
        factor = layout.factor(name)
        shape.append((sizes[name] + pad) // factor if factor > 1 else sizes[name])
        split.append(name)
        if any(axis == name.lower() for axis, _ in layout.axes):
            shape.append(factor)
            split.append(name.lower())
    return e.permute(e.reshape(data, shape), [split.index(name) for name, _ in layout.axes])
