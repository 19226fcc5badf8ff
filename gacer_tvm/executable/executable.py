"""The executable: several tenants compiled into one thing that runs them together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..cost import Device
from ..errors import DeviceError, TenantError
from ..frontend import check_inputs
from ..graph.model import MultiTenantGraph
from ..kernels.library import KernelLibrary
from ..plan import LaunchPlan
from ..schedule import Schedule
from .measure import Quantiles, interleave
from .profile import Profile
from .record import Recorder
from .report import Report, make_report
from .session import open_session
from .signature import TenantSignature, signatures

__all__ = ["Executable"]


class Executable:
    """Several models compiled for one device under one schedule.

    Made by `gacer_tvm.build` or `gacer_tvm.load`; a context manager that ends its threads.

    Attributes
    ----------
    graph, library, plan, device
        The stages' values that it was made from.
    decision
        How the schedule was chosen (see `executable.choose.Decision`); None where it was given.
    recorder
        Keeps what is measured (see `executable.record.Recorder`); None where nothing is to be kept.
    """

    def __init__(
        self,
        graph: MultiTenantGraph,
        library: KernelLibrary,
        plan: LaunchPlan,
        device: Device,
        session: Any = None,
        decision: Any = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.graph = graph
        self.library = library
        self.plan = plan
        self.device = device
        self.decision = decision
        self.recorder = recorder
        self._signatures = signatures(graph)
        self._session = session
        self._lock = threading.Lock()
        self._fed = False

    @property
    def schedule(self) -> Schedule:
        """The schedule that it runs."""
        return self.plan.schedule

    @property
    def way(self) -> str:
        """What the schedule is called: the name that won the choice, its strategy, or ``given``."""
        chosen = getattr(self.decision, "chosen", "")
        return chosen or self.schedule.provenance.strategy or "given"

    @property
    def tenants(self) -> dict[str, TenantSignature]:
        """Each tenant's ordered inputs and outputs."""
        return dict(self._signatures)

    def run(self, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Run every tenant once.

        Parameters
        ----------
        inputs
            For each tenant its inputs by name: NumPy arrays, or anything with DLPack (torch, CuPy, TVM). A tenant with one
            input may be given the bare array.

        Returns
        -------
        outputs
            For each tenant its outputs in order: NumPy arrays if all of its inputs were, else TVM tensors (DLPack).
            They are copies, which later rounds leave alone.

        Raises
        ------
        TenantError
            For an unknown or missing tenant or input, a wrong shape or dtype; nothing has run then.
        """
        fed = self._checked(inputs)
        with self._lock:
            session = self._open()
            for name, arrays in fed.items():
                info = self._info(name)
                for key, array in arrays.items():
                    session.feed(info.inputs[key], array)
            self._fed = True
            session.round()
            outputs: dict[str, list[Any]] = {}
            for name, arrays in fed.items():
                as_numpy = all(isinstance(a, np.ndarray) for a in arrays.values())
                info = self._info(name)
                outputs[name] = [session.fetch(b, as_numpy) for b in info.outputs.values()]
        return outputs

    def benchmark(
        self, inputs: Mapping[str, Mapping[str, Any]] | None = None, *, repeats: int = 50, warmup: int = 5
    ) -> Quantiles:
        """Time whole rounds (all tenants once; inputs are in place, outputs are not copied).

        Where the executable was built with a place for data (`record`), the makespan is kept beside the predictions of it.

        Parameters
        ----------
        inputs
            As for `run`; by default what was fed last, or random values.
        """
        with self._lock:
            session = self._ready(inputs)
            found = interleave({"round": session.round}, repeats=repeats, warmup=warmup)["round"]
        if self.recorder is not None:
            self.recorder.makespans({self.way: self.schedule}, {self.way: found})
        return found

    def profile(self, inputs: Mapping[str, Mapping[str, Any]] | None = None) -> Profile:
        """Measure one round launch by launch."""
        with self._lock:
            session = self._ready(inputs)
            times = session.timed_round()
        rules = {launch.index: self.library.get(*launch.kernel).rule for launch in self.plan.launches}
        return Profile.of(self.graph, self.plan, times, rules)

    def trace(self, path: str | Path) -> Path:
        """Measure one round and write it as Chrome trace JSON, which opens in Perfetto."""
        return self.profile().trace(path)

    def report(self) -> Report:
        """Facts about the executable: kernels and what made them, events, memory, how the schedule was chosen."""
        return make_report(self.graph, self.library, self.plan, self.device, self.decision)

    def save(self, folder: str | Path) -> Path:
        """Save kernels, parameters, schedule and a manifest to a folder; see `gacer_tvm.load`."""
        from .bundle import save

        return save(self, folder)

    def close(self) -> None:
        """End worker threads and free device memory; the executable opens again when it is run."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None
                self._fed = False

    def __enter__(self) -> Executable:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(self._signatures)
        return (
            f"Executable({names}; {self.device.name}; {len(self.plan.launches)} launches on {self.plan.streams} streams, "
            f"{self.schedule.provenance.strategy or 'given'} schedule)"
        )

    def _open(self) -> Any:
        if self._session is None:
            if self.device.kind == "cpu" and self.library.target.kind.name != "llvm":
                raise DeviceError(f"target {self.library.target} cannot run on {self.device.name}")
            self._session = open_session(self.graph, self.plan, self.library, self.device)
        return self._session

    def _ready(self, inputs: Mapping[str, Mapping[str, Any]] | None) -> Any:
        session = self._open()
        if inputs is not None:
            for name, arrays in self._checked(inputs).items():
                for key, array in arrays.items():
                    session.feed(self._info(name).inputs[key], array)
            self._fed = True
        elif not self._fed:
            session.feed_random()
            self._fed = True
        return session

    def _checked(self, inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        names = list(self._signatures)
        if not isinstance(inputs, Mapping):
            raise TenantError(f"expected a mapping of tenant to inputs ({names}), found {type(inputs).__name__}")
        unknown = [n for n in inputs if n not in self._signatures]
        missing = [n for n in names if n not in inputs]
        if unknown or missing:
            raise TenantError(
                f"expected inputs for the tenants {names}, found {list(inputs)}"
                + (f"; unknown: {unknown}" if unknown else "")
                + (f"; missing: {missing}" if missing else "")
            )
        fed = {}
        for name in names:
            signature, arrays = self._signatures[name], inputs[name]
            if not isinstance(arrays, Mapping) and len(signature.inputs) == 1:
                arrays = {next(iter(signature.inputs)): arrays}
            check_inputs(signature, arrays)
            fed[name] = dict(arrays)
        return fed

    def _info(self, name: str) -> Any:
        return self.graph.tenants[list(self._signatures).index(name)]
