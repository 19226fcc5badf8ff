"""Candidates compared at the end: in turn, on data that no call before has left in a core's own cache."""

from __future__ import annotations

import numpy as np

from gacer_tvm._tvm import s_tir
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.kernels import rules
from gacer_tvm.tune import measure
from gacer_tvm.tune.measure import Here
from gacer_tvm.tune.records import workload_module
from gacer_tvm.tune.tune import with_cores

from .nets import tenants


def test_every_candidate_gets_as_many_calls_and_one_that_fails_none() -> None:
    graph, library, _ = lower_tenants(tenants(), cache=False)
    funcs = [library.request(op.index, 4).func for op in graph.operators[:2]]
    target = with_cores(library.target, 1)
    mine, other = (workload_module(rules.schedule(f, library.target, 1).func) for f in funcs)
    again = workload_module(rules.schedule(funcs[0], library.target, 2).func)
    arguments = list(s_tir.meta_schedule.arg_info.ArgInfo.from_prim_func(workload_module(funcs[0])["main"]))
    here = Here(1)
    # The other tenant's kernel refuses these shapes.
    first, wrong, last = here.in_turns([mine, other, again], target, arguments)
    assert wrong == [] and len(first) == len(last) >= 10
    assert min(first) > 0 and min(last) > 0
    here.close()


def test_copies_take_more_than_a_cores_own_cache_unless_they_would_be_too_many() -> None:
    ArgInfo = s_tir.meta_schedule.arg_info.TensorInfo
    infos = [ArgInfo("float32", [256, 256]), ArgInfo("float32", [256])]
    size = 4 * (256 * 256 + 256)
    copies = measure._copies(infos, 10 * size - 1)
    assert len(copies) == 10
    assert all([t.shape for t in copy] == [(256, 256), (256,)] for copy in copies)
    # Memory of their own: what is written into one is in no other.
    for number, copy in enumerate(copies):
        copy[1].copyfrom(np.full(256, number, np.float32))
    assert [float(copy[1].numpy()[0]) for copy in copies] == list(range(10))
    assert len(measure._copies(infos, 1)) == 2
    assert len(measure._copies([ArgInfo("float32", [2])], 1 << 20)) == measure._MOST_COPIES
