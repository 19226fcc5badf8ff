"""``python -m gacer_tvm.bench.cubins --arch sm_90``: every kernel of the model sets as CUDA machine code, without a GPU.

One line a kernel: the rule that made it, registers, shared memory and stack as the assembler reports them, spilled bytes,
threads of a block, and the occupancy that follows for the architecture's device model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..cost import Device
from ..cost.occupancy import blocks_per_sm
from ..errors import DeviceError, GacerError
from ..executable.build import lower_tenants
from ..kernels import cubin
from ..kernels.library import KernelLibrary
from ..kernels.store import write_beside
from ..models import SETS, tenant

__all__ = ["Line", "lines_of", "main", "table"]


@dataclass(frozen=True)
class Line:
    """One kernel's figures; a kernel of several GPU kernels shows the most of each, and all that they spill.

    Attributes
    ----------
    kernel, rule
        An operator that it belongs to, and what made it.
    gpu_kernels
        How many GPU kernels it is.
    grid, block
        Blocks, and threads of a block (the largest).
    registers, shared, stack
        Registers and stack bytes a thread, shared bytes a block.
    spilled
        Bytes of spill stores and loads.
    occupancy
        Resident threads over those that an SM can hold, in percent.
    """

    kernel: str
    rule: str
    gpu_kernels: int
    grid: int
    block: int
    registers: int
    shared: int
    stack: int
    spilled: int
    occupancy: int


def lines_of(library: KernelLibrary, device: Device, done: set[str]) -> list[Line]:
    """Compile the whole operators of a graph that are not in `done`, and say what became of them.

    Raises
    ------
    GraphError
        Naming the kernel that does not compile.
    DeviceError
        Without a compiler for the architecture.
    """
    arch = str(library.target.attrs["arch"])
    limits = device.limits
    if limits is None:
        raise DeviceError(f"{device.name} has no limits to compute an occupancy from")
    graph = library.graph
    wanted: dict[str, tuple[int, int]] = {}
    for operator in graph.operators:
        batch = graph.tenants[operator.tenant].batch
        key = library.key(operator.index, batch)
        if key not in done:
            wanted.setdefault(key, (operator.index, batch))
    library.ensure(wanted.values())
    sources: dict[int, cubin.Cubin] = {}
    found = []
    for key, (index, batch) in wanted.items():
        module = library.origins[key]
        if id(module) not in sources:
            # Compiled already; this only looks it up.
            sources[id(module)] = cubin.compile_cuda(cubin.device_source(module), arch)
        made = sources[id(module)]
        kernel = library.get(index, batch)
        resources = cubin.resources_of(made, f"k_{key}")
        launch = kernel.launch
        if resources is None or launch is None:
            raise DeviceError(f"{graph.operators[index].name}: no GPU kernel in its machine code")
        figures = replace(launch, registers=resources.registers, shared_bytes=resources.shared_bytes)
        resident = blocks_per_sm(figures, limits) * launch.block
        parts = sum(1 for name in made.kernels if name.startswith(f"k_{key}_kernel"))
        found.append(
            Line(
                graph.operators[index].name, kernel.rule, parts, launch.grid, launch.block, resources.registers,
                resources.shared_bytes, resources.stack_bytes, resources.spill_stores + resources.spill_loads,
                round(100 * min(1.0, resident / limits.threads)),
            )
        )  # fmt: skip
    done.update(wanted)
    return found


def table(found: dict[str, list[Line]], heading: Sequence[str]) -> str:
    """Tab-separated lines under a heading of comments."""
    names = [field.name for field in fields(Line)]
    text = [*(f"# {line}" for line in heading), "\t".join(["set", *names])]
    for which, lines in found.items():
        text += ["\t".join([which, *map(str, astuple(line))]) for line in lines]
    return "\n".join(text) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a summary; write the table."""
    parser = argparse.ArgumentParser(prog="python -m gacer_tvm.bench.cubins", description=__doc__)
    parser.add_argument("--arch", default="sm_90", help="architecture with a device model: sm_70, sm_80, sm_90")
    parser.add_argument("--set", action="append", choices=tuple(SETS), dest="sets", help="model set (repeatable; all)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="where to write the table")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    sets = given.sets or list(SETS)
    done: set[str] = set()
    found: dict[str, list[Line]] = {}
    try:
        compiler = _compiler(given.arch)
        for which in sets:
            graph, library, device = lower_tenants(_tenants(which, given.batch, given.size), given.arch, cache=False)
            found[which] = lines_of(library, device, done)
            print(f"{which}: {len(graph.operators)} operators, {len(found[which])} kernels not met before", flush=True)
    except GacerError as error:
        print(error)
        return 2
    lines = [line for part in found.values() for line in part]
    spilled = [line for line in lines if line.spilled]
    heading = [
        f"{given.arch}: {len(lines)} kernels of {', '.join(sets)}; images {given.size} x {given.size}, batch {given.batch}",
        f"compiled by {compiler}; {len(spilled)} kernels spill"
        + (f", most {max(line.spilled for line in spilled)} bytes" if spilled else ""),
    ]
    print("\n".join([*heading, f"{time.monotonic() - began:.0f} s"]))
    for line in sorted(spilled, key=lambda entry: -entry.spilled)[:20]:
        print(f"  {line.kernel}: {line.spilled} bytes spilled, {line.registers} registers ({line.rule})")
    if given.out is not None:
        text = table(found, heading)
        write_beside(given.out, lambda p: p.write_text(text))
    return 0


def _tenants(which: str, batch: int, size: int) -> dict[str, Any]:
    made = {}
    for name in SETS[which]:
        image = None if name in ("lstm", "bert") else size
        made[name] = tenant(name, batch, image)
    return made


def _compiler(arch: str) -> str:
    """The compiler that TVM's callback will use, if it knows the architecture.

    Raises
    ------
    DeviceError
        If it does not, as CUDA 13 dropped everything before sm_75.
    """
    made = cubin.compile_cuda('extern "C" __global__ void nothing() {}', arch)
    return made.compiler


if __name__ == "__main__":
    raise SystemExit(main())
