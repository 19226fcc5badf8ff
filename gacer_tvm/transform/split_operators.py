"""Cut operators become chunk calls that write rows of one whole-batch tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._tvm import relax, s_tir, tvm
from ..errors import GraphError
from ..graph.calls import ITEMS, WHOLE, Call
from ..graph.read import read_graph, read_merged
from ..kernels.chunk import at_items, with_offset
from ..schedule import Schedule, check
from .attributes import the_schedule
from .rewrite import bindings_of, with_bindings

__all__ = ["SplitOperators", "chunk_kernel"]


@tvm.transform.module_pass(opt_level=0, name="SplitOperators")
class SplitOperators:
    """Cuts operators along the batch as the schedule says; nothing is sliced or concatenated.

    Rewrite
    -------
    With ``splits[0] = (3, 5)`` for an operator over eight items::

        lv = R.call_tir(a__conv2d, (x, w), out_ty=R.Tensor((8, 16)))

    becomes ::

        out = R.builtin.alloc_tensor(R.shape([8, 16]), "float32", 0)
        lv_0 = R.call_tir_inplace(a__conv2d__items3, (x, w, out, 0), out_ty=R.Tensor((8, 16)), inplace_indices=[2])
        lv = R.call_tir_inplace(a__conv2d__items5, (x, w, lv_0, 3), out_ty=R.Tensor((8, 16)), inplace_indices=[2])

    where ``a__conv2d__items3`` is the kernel over three items that starts at the item given as its last argument. One
    kernel serves every chunk of its size. The kernel of the whole batch stays in the module as the definition of the
    operator, so that the module can be read, checked and cut again (`RemoveWholeKernels` drops it).

    Parameters
    ----------
    schedule
        By default the one attached to the module.
    kernel
        Given a kernel of fewer items, returns it scheduled for a target. It is called before the kernel gets its first
        item as an argument, because schedule rules do not expect that. By default kernels stay as they are.

    Raises
    ------
    ScheduleError
        If the schedule is not legal for the module.
    GraphError
        If the module is not a merged one, or its operators are cut already.
    """

    def __init__(
        self, schedule: Schedule | None = None, kernel: Callable[[Any], Any] | None = None
    ) -> None:
        self.schedule = schedule
        self.kernel = kernel

    def transform_module(self, module: Any, context: Any) -> Any:
        graph = read_graph(module, values=False)
        schedule = check(the_schedule(self.schedule, module, "SplitOperators"), graph)
        chunks: dict[Any, tuple[Call, int, Sequence[int]]] = {}
        for (tenant, position), call in read_merged(module).operators().items():
            batch = graph.tenants[tenant].batch
            sizes: Sequence[int] = schedule.tenants[tenant].chunks(position, batch)
            if call.chunks:
                raise GraphError(f"the operator {call.kernel} is cut already, expected an uncut module; cut it once")
            if len(sizes) > 1:
                chunks[call.vars[0]] = (call, batch, sizes)
        builder = relax.BlockBuilder(module)
        kernels: dict[tuple[str, int], Any] = {}
        bindings = []
        for binding in bindings_of(module):
            if binding.var not in chunks:
                bindings.append(binding)
                continue
            call, batch, sizes = chunks[binding.var]
            for size in sizes:
                if (call.kernel, size) not in kernels:
                    func = chunk_kernel(module[call.kernel], call.kernel, len(call.writes), batch, size, self.kernel)
                    kernels[call.kernel, size] = builder.add_func(func, func.attrs["global_symbol"])
            bindings += _cut(builder, binding, sizes, [kernels[call.kernel, size] for size in sizes])
        made = builder.get()
        return with_bindings(made.with_attrs(module.attrs) if module.attrs else made, bindings)


def chunk_kernel(
    func: Any, name: str, outputs: int, batch: int, items: int, schedule: Callable[[Any], Any] | None = None
) -> Any:
    """The kernel of `items` items that takes its first item as the last argument.

    Parameters
    ----------
    func, name
        Unscheduled kernel of the whole batch, and its name in the module.
    outputs
        How many of its trailing parameters are outputs.
    batch, items
        Items of the whole batch, and of the chunk.
    schedule
        See `SplitOperators`.
    """
    resized, rows = at_items(func, outputs, batch, items)
    if schedule is not None:
        resized = schedule(resized)
    # Each function of a module has variables of its own.
    made = s_tir.renew_defs(with_offset(resized, rows, batch))
    for key, value in (("global_symbol", f"{name}__items{items}"), (WHOLE, name), (ITEMS, items)):
        made = made.with_attr(key, value)
    return made


def _cut(builder: Any, binding: Any, sizes: Sequence[int], kernels: Sequence[Any]) -> list[Any]:
    name, call = binding.var.name, binding.value
    reads = list(call.args[1].fields)
    types = list(call.ty_args[0].fields) if hasattr(call.ty_args[0], "fields") else [call.ty_args[0]]
    made: list[Any] = []

    def bind(label: str, value: Any) -> Any:
        value = builder.normalize(value)
        var = relax.DataflowVar(label, value.ty)
        made.append(relax.VarBinding(var, value))
        return var

    def allocated(ty: Any) -> Any:
        return relax.op.builtin.alloc_tensor(ty.shape, str(ty.dtype), 0)

    into = [bind(f"{name}_out{n}" if len(types) > 1 else f"{name}_out", allocated(ty)) for n, ty in enumerate(types)]
    first = 0
    for n, (size, kernel) in enumerate(zip(sizes, kernels, strict=True)):
        chunk = relax.op.call_tir_inplace(
            kernel,
            [*reads, *into, relax.prim_value(first)],
            [len(reads) + k for k in range(len(types))],
            types,
        )
        first += size
        if n == len(sizes) - 1:
            made.append(relax.VarBinding(binding.var, builder.normalize(chunk)))
            break
        var = bind(f"{name}_{n}", chunk)
        into = [var] if len(types) == 1 else [
            bind(f"{name}_{n}_{k}", relax.TupleGetItem(var, k)) for k in range(len(types))
        ]
    return made
