"""The kernel library: each kernel compiled once for an operator, a chunk size and a target, whatever the schedule.

Kernels are asked for by operator, items and the cores of the stream that they run on; what is missing is compiled together in
one go and kept, in memory and (where a cache folder is given) on disk. Changing a schedule compiles only chunk sizes never seen
before. The default rules make one kernel for all shares of the cores; tuning records may have one for each.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from .. import progress
from .._tvm import tvm, tvm_ffi
from ..errors import GraphError
from ..graph.legality import Refused
from ..graph.model import LaunchShape, MultiTenantGraph
from . import cubin, rules
from .chunk import with_offset
from .counts import Counts, count
from .launch_shape import launch_shape, with_device_figures
from .request import KernelRequest, request
from .rules.base import NotApplicable
from .rules.cuda import check_bound
from .rules.cuda import threads as cuda_threads
from .store import KernelStore
from .target import is_cuda
from .workspace import Workspace, lift_workspaces

__all__ = ["Kernel", "KernelLibrary", "Provider"]

# Given an unscheduled PrimFunc, the target and the cores that it may use, a scheduled one and where it comes from; None where
# it has none.
Provider = Callable[[Any, Any, int], "tuple[Any, str] | None"]
# (operator, items), or with the cores of the stream that it runs on; None: all.
At = tuple[int, int] | tuple[int, int, int | None]
_BATCH = 24


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel.

    Attributes
    ----------
    key
        Its key in the library.
    call
        The function: buffers in argument order, then the first item if it is a chunk's, then its workspaces. None where
        the target's device is missing and only source was generated.
    rule
        Which rule or log record scheduled it.
    launch
        Launch shape, where the target has one.
    failures
        Rules that failed before `rule` succeeded, with the reason.
    workspaces
        Shape and dtype of each buffer that the launcher lends the kernel for the time of the launch (CUDA).
    counts
        What it executes (CPU), where it was compiled here or its manifest tells.
    """

    key: str
    call: Any
    rule: str
    launch: LaunchShape | None = None
    failures: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    workspaces: tuple[Workspace, ...] = ()
    counts: Counts | None = None


class KernelLibrary:
    """Compiles and keeps the kernels of one graph for one target.

    Parameters
    ----------
    graph
        The multi-tenant graph.
    target
        tvm Target.
    cores
        Cores that the default rules' kernels may count on when their loops are tiled (CPU).
    providers
        Asked in turn for a schedule before the rules are (tuning databases, replayed logs).
    store
        Where compiled kernels are kept between processes; None keeps them in memory only.
    """

    def __init__(
        self,
        graph: MultiTenantGraph,
        target: Any,
        *,
        cores: int = 1,
        providers: Iterable[Provider] = (),
        store: KernelStore | None = None,
    ) -> None:
        self.graph = graph
        self.target = target
        self.cores = cores
        self.providers = tuple(providers)
        self.store = store
        self.compiled = 0
        # Where each kernel's machine code is: a module compiled here, or a file of the store.
        self.origins: dict[str, Any] = {}
        self._kernels: dict[str, Kernel] = {}
        self._requests: dict[tuple[str, int, int, int, int], KernelRequest] = {}
        self._schedules: dict[str, tuple[Any, str]] = {}
        self._counts: dict[str, Counts] = {}
        # Records that compute what a kernel computes and did not serve, with the reason.
        self._refused: dict[tuple[str, int], tuple[tuple[str, str], ...]] = {}

    def key(self, operator: int, items: int, cores: int | None = None) -> str:
        """Key of the kernel of an operator at a chunk size."""
        return self.request(operator, items, cores).key

    def has(self, operator: int, items: int, cores: int | None = None) -> bool:
        """Whether that kernel is compiled already."""
        return self.key(operator, items, cores) in self._kernels

    def get(self, operator: int, items: int, cores: int | None = None) -> Kernel:
        """The kernel of an operator at a chunk size on so many cores (all by default); compiled now if need be."""
        key = self.key(operator, items, cores)
        if key not in self._kernels:
            self.ensure([(operator, items, cores)])
        return self._kernels[key]

    def ensure(self, wanted: Iterable[At]) -> int:
        """Compile what is missing among (operator, items) and (operator, items, cores).

        Returns
        -------
        count
            How many kernels were compiled.
        """
        missing: dict[str, KernelRequest] = {}
        for at in wanted:
            found = self.request(*at)
            if found.key not in self._kernels:
                missing.setdefault(found.key, found)
        if missing and self.store is not None:
            for key, (kernel, path) in self.store.load(list(missing), self.target).items():
                self._kernels[key] = kernel
                self.origins[key] = path
                del missing[key]
        if missing:
            self._compile(list(missing.values()))
        return len(missing)

    def kernels(self) -> dict[str, Kernel]:
        """All kernels compiled or loaded so far, by key."""
        return dict(self._kernels)

    def scheduled(
        self, operator: int, items: int, cores: int | None = None
    ) -> tuple[Any, str, tuple[tuple[str, str], ...]]:
        """The scheduled PrimFunc as it is compiled, the rule that made it, and the rules that failed."""
        return self._schedule(self.request(operator, items, cores))

    def counts(self, operator: int, cores: int | None = None) -> Counts | None:
        """What an operator's kernel executes at the whole batch; None on a GPU. The same object for the same kernel."""
        if is_cuda(self.target):
            return None
        wanted = self.request(operator, self.graph.tenants[self.graph.operators[operator].tenant].batch, cores)
        held = self._kernels.get(wanted.key)
        if wanted.key not in self._counts:
            known = held is not None and held.counts
            self._counts[wanted.key] = known or count(self._schedule(wanted)[0])
        return self._counts[wanted.key]

    def refused(self, operator: int, items: int, cores: int | None = None) -> tuple[tuple[str, str], ...]:
        """Tuning records of what this kernel computes that were not used for it: (record, reason) each."""
        return self._refused.get((self.key(operator, items, cores), self._share(cores)), ())

    def request(self, operator: int, items: int, cores: int | None = None) -> KernelRequest:
        """The unscheduled kernel of an operator at a chunk size; its key is that of the kernel for so many cores."""
        found = self.graph.operators[operator]
        batch = self.graph.tenants[found.tenant].batch
        # Without providers the rules' kernel is the same for every number of cores.
        share = self._share(cores) if self.providers else self.cores
        at = (found.kernel, len(found.writes), batch, items, share)
        if at not in self._requests:
            try:
                self._requests[at] = self._provided(
                    request(self.graph.module[found.kernel], len(found.writes), batch, items, self.target, self.cores),
                    share,
                )
            except Refused as reason:
                raise GraphError(
                    f"tenant {self.graph.tenants[found.tenant].name!r}, operator {found.name!r}: no kernel for {items} of "
                    f"{batch} items: {reason}"
                ) from reason
        return self._requests[at]

    def _share(self, cores: int | None) -> int:
        return self.cores if cores is None else min(cores, self.cores)

    def _provided(self, wanted: KernelRequest, cores: int) -> KernelRequest:
        """The request under a key of its own where a provider has a schedule: the rules' kernel may be stored already."""
        refused: list[tuple[str, str]] = []
        for provider in self.providers:
            found = provider(wanted.func, self.target, cores)
            if found is None and hasattr(provider, "refusals"):
                refused += provider.refusals(wanted.func, self.target, cores)
            if found is not None:
                text = f"{wanted.key} {found[1]} {tvm_ffi.structural_hash(found[0])}"
                wanted = replace(wanted, key=hashlib.sha256(text.encode()).hexdigest()[:24])
                self._schedules[wanted.key] = found
                break
        self._refused[wanted.key, cores] = tuple(refused)
        return wanted

    def _schedule(self, wanted: KernelRequest) -> tuple[Any, str, tuple[tuple[str, str], ...]]:
        made, rule = self._schedules.get(wanted.key, (None, ""))
        failures: tuple[tuple[str, str], ...] = ()
        if made is None:
            with self.target:
                result = rules.schedule(wanted.func, self.target, self.cores)
            made, rule, failures = result.func, result.rule, result.failures
        if wanted.items != wanted.batch:
            made = with_offset(made, wanted.rows, wanted.batch)
        return made.with_attr("global_symbol", wanted.symbol), rule, failures

    def _compile(self, missing: list[KernelRequest]) -> None:
        # Compilers of CUDA work on one source at a time: as many sources as there are cores for them.
        cores = os.cpu_count() or 1
        size = min(_BATCH, max(2, -(-len(missing) // cores))) if is_cuda(self.target) else _BATCH
        parts = [missing[n : n + size] for n in range(0, len(missing), size)]
        workers = min(len(parts), cores)
        with progress.update("compiling kernels", len(missing)) as task, ThreadPoolExecutor(workers) as pool:
            for part in pool.map(self._compile_part, parts):
                task.advance(part)

    def _compile_part(self, part: list[KernelRequest]) -> int:
        made = [(wanted, *self._schedule(wanted)) for wanted in part]
        try:
            self._finish(made)
        except (RuntimeError, ValueError, TypeError, NotApplicable):
            # One bad kernel must not take the others with it: find it, and give it its plain loops.
            for one in made:
                self._compile_one(one)
        self.compiled += len(part)
        return len(part)

    def _compile_one(self, made: _Made) -> None:
        wanted, _, rule, failures = made
        try:
            self._finish([made])
        except (RuntimeError, ValueError, TypeError, NotApplicable) as error:
            reason = _first_line(error)
            try:
                plain, last_rule = self._plain(wanted)
                self._finish([(wanted, plain, last_rule, (*failures, (rule, reason)))])
            except (RuntimeError, ValueError, TypeError, NotApplicable) as last:
                names = sorted({k for k, r in self._requests.items() if r.key == wanted.key})
                raise GraphError(
                    f"kernel {names[0][0] if names else wanted.symbol} for {wanted.items} of {wanted.batch} items cannot be "
                    f"compiled for {self.target}: {reason}; without a schedule: {_first_line(last)}"
                ) from last

    def _plain(self, wanted: KernelRequest) -> tuple[Any, str]:
        """The kernel without a clever schedule: on a CPU the loops as they are, on CUDA a thread an element."""
        func, rule = wanted.func, "unscheduled"
        if is_cuda(self.target):
            func, rule = cuda_threads(func), "threads"
        if wanted.items != wanted.batch:
            func = with_offset(func, wanted.rows, wanted.batch)
        return func.with_attr("global_symbol", wanted.symbol), rule

    def _finish(self, made: list[_Made]) -> None:
        """Compile scheduled functions in one module, store it, and take its kernels into the library."""
        cuda = is_cuda(self.target)
        if cuda:
            cubin.install()
            for _, func, rule, _ in made:
                # TVM would make host code of the rest, which crashes on its first access to device memory.
                check_bound(func, rule)
        lifted = [lift_workspaces(func) if cuda else (func, ()) for _, func, _, _ in made]
        functions = {wanted.symbol: func for (wanted, _, _, _), (func, _) in zip(made, lifted)}
        with self.target:
            module = tvm.compile(tvm.IRModule(functions), self.target)
        source = cubin.device_source(module) if cuda else ""
        kernels = []
        for (wanted, _, rule, failures), (func, workspaces) in zip(made, lifted):
            shape = with_device_figures(launch_shape(func), source, wanted.symbol, self.target)
            counted = None if cuda else count(func)
            kernels.append(Kernel(wanted.key, None, rule, shape, failures, workspaces, counted))
        origin: Any = module
        if cuda and not tvm.runtime.enabled("cuda"):
            # TVM then generates source and no code; the functions that it hands out must not be called.
            for kernel in kernels:
                self._kernels[kernel.key] = kernel
                self.origins[kernel.key] = origin
            return
        if self.store is not None:
            # The linked library is used in place of compiling the module a second time in memory.
            stored = self.store.save(module, kernels, self.target)
            if stored is not None:
                module, origin = stored
        for kernel in kernels:
            self._kernels[kernel.key] = replace(kernel, call=module[f"k_{kernel.key}"])
            self.origins[kernel.key] = origin


# A request with its scheduled function, the rule that made it, and the rules that failed.
_Made = tuple[KernelRequest, Any, str, tuple[tuple[str, str], ...]]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
