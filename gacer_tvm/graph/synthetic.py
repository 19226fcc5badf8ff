"""Multi-tenant graphs without TVM, for tests and benchmarks: random layered graphs, and graphs of hand-made layers.

They carry everything that cost, simulator and search read (work, chunking, dependences, launch shapes) but no module.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from .model import Buffer, Chunking, LaunchShape, MultiTenantGraph, Operator, TenantInfo, Work

__all__ = ["Layer", "make_graph", "random_graph", "random_layers"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of a synthetic model, for the whole batch.

    Attributes
    ----------
    kind
        Part of the operator's name.
    flops, batched_bytes, fixed_bytes
        As in `Work`.
    inputs
        Positions of earlier layers that it reads; empty for the model's input.
    divisible
        Whether it may be cut along the batch.
    launch
        Launch shape of the whole batch, where known.
    """

    kind: str
    flops: float
    batched_bytes: int
    fixed_bytes: int
    inputs: tuple[int, ...] = ()
    divisible: bool = True
    launch: LaunchShape | None = None


def make_graph(models: dict[str, tuple[int, Sequence[Layer]]]) -> MultiTenantGraph:
    """Merge models, given as ``{name: (batch, layers)}``, into a graph."""
    tenants: list[TenantInfo] = []
    operators: list[Operator] = []
    buffers: list[Buffer] = []
    whole = hashlib.sha256()
    for tenant, (name, (batch, layers)) in enumerate(models.items()):
        first = len(operators)

        def buffer(
            label: str, kind: str, nbytes: int, *, owner: str = name, number: int = tenant, n: int = batch
        ) -> int:
            index = len(buffers)
            shape = (n, max(1, nbytes // 4 // n)) if kind != "constant" else (max(1, nbytes // 4),)
            buffers.append(
                Buffer(index, f"{owner}/{label}", number, kind, shape, "float32", 4 * math.prod(shape), index)  # type: ignore[arg-type]
            )
            return index

        used = {i for layer in layers for i in layer.inputs}
        source = buffer("x", "input", max(4 * batch, layers[0].batched_bytes // 2 if layers else 4))
        results: list[int] = []
        outputs: dict[str, int] = {}
        for position, layer in enumerate(layers):
            reads = [results[i] for i in layer.inputs] or [source]
            rows = [1 if layer.divisible else 0] * len(reads)
            if layer.fixed_bytes:
                reads.append(buffer(f"w{position}", "constant", layer.fixed_bytes))
                rows.append(0)
            final = position not in used
            moved = max(4 * batch, layer.batched_bytes // (1 + len(layer.inputs or (0,))))
            result = buffer(f"y{position}", "output" if final else "intermediate", moved)
            if final:
                outputs[f"y{position}"] = result
            results.append(result)
            cut = layer.divisible and batch > 1
            operators.append(
                Operator(
                    index=len(operators),
                    tenant=tenant,
                    position=position,
                    name=f"{name}/{position}_{layer.kind}",
                    kernel=f"{name}_{layer.kind}_{position}",
                    reads=tuple(reads),
                    writes=(result,),
                    work=Work(layer.flops, layer.batched_bytes, layer.fixed_bytes),
                    chunking=Chunking(
                        items=batch if cut else 1,
                        rows=(*rows, 1 if layer.divisible else 0),
                        refusal=""
                        if cut
                        else "the batch is 1"
                        if layer.divisible
                        else "it reads other items of the batch",
                    ),
                    predecessors=tuple(sorted({first + i for i in layer.inputs})),
                    launch=layer.launch,
                )
            )
        digest = hashlib.sha256(repr((batch, tuple(layers))).encode()).hexdigest()[:16]
        whole.update(f"{name}:{batch}:{digest};".encode())
        tenants.append(TenantInfo(name, batch, first, len(layers), {"x": source}, outputs, digest))
    return MultiTenantGraph(tuple(tenants), tuple(operators), tuple(buffers), "synthetic-" + whole.hexdigest()[:16])


def random_layers(
    rng: random.Random, count: int, *, batch: int, width: int = 3, scale: float = 1.0, launches: bool = True
) -> list[Layer]:
    """A random layered model: chains with branches up to `width` wide that join again; sizes spread log-normally."""
    layers: list[Layer] = []
    previous: list[int] = []
    while len(layers) < count:
        wide = rng.choice([1] * 4 + list(range(1, width + 1)))
        level = []
        for _ in range(min(wide, count - len(layers))):
            inputs = tuple(sorted(rng.sample(previous, rng.randint(1, len(previous))))) if previous else ()
            if layers and rng.random() < 0.15:
                inputs = tuple(sorted({*inputs, rng.randrange(len(layers))}))
            flops = scale * math.exp(rng.gauss(math.log(2e8), 1.5))
            intensity = math.exp(rng.gauss(math.log(25), 1.2))
            moved = max(64, int(flops / intensity))
            fixed = int(moved * rng.choice((0.0, 0.05, 0.5, 1.0)))
            blocks = max(1, int(math.exp(rng.gauss(math.log(150), 1.2))))
            launch = LaunchShape(
                blocks, rng.choice((64, 128, 256)), rng.choice((32, 64, 128)), rng.choice((0, 8192, 24576))
            )
            level.append(len(layers))
            layers.append(
                Layer(
                    rng.choice(("conv", "dense", "pool", "norm", "add")),
                    flops,
                    moved - fixed if moved > fixed else 64,
                    fixed,
                    inputs,
                    divisible=rng.random() < 0.85,
                    launch=launch if launches else None,
                )
            )
        previous = level
    return layers


def random_graph(
    seed: int,
    *,
    tenants: int = 3,
    operators: int = 20,
    batch: int = 8,
    width: int = 3,
    scale: float = 1.0,
    launches: bool = True,
) -> MultiTenantGraph:
    """A random multi-tenant graph; same arguments, same graph.

    Parameters
    ----------
    seed
        Seed of everything random.
    tenants, operators
        How many, and operators each.
    batch
        Batch of every tenant.
    width
        Most branches side by side.
    scale
        Factor on the work.
    launches
        Whether operators carry launch shapes.
    """
    rng = random.Random(seed)
    return make_graph(
        {
            f"tenant{n}": (
                batch,
                random_layers(rng, operators, batch=batch, width=width, scale=scale, launches=launches),
            )
            for n in range(tenants)
        }
    )
