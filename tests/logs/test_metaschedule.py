"""Old MetaSchedule databases: functions rebuilt, traces translated and run, matched to functions of today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gacer_tvm._tvm import relax, s_tir, te, tvm
from gacer_tvm.logs import NotReplayed, Replayed, ScheduleLibrary, read_logs
from gacer_tvm.logs.meta_replay import replay_meta, same_function
from gacer_tvm.logs.old_tir import OldTirError, decode_module, rebuild_function
from gacer_tvm.logs.record import LogRecord

from .helpers import cpu, cuda, run
from .lowered import conv2d, dense_relu, softmax
from .old_json import OldJson, old_trace


def database(folder: Path, function: Any, trace: list[Any], kind: str = "llvm") -> LogRecord:
    """A database of one record, read."""
    (folder / "database_workload.json").write_text(json.dumps(["42", OldJson().module(function)]) + "\n")
    arguments = [["TENSOR", str(p.ty.dtype), [int(e) for e in p.ty.shape]] for p in function.params]
    target = {"kind": kind, "keys": ["cuda", "gpu"] if kind == "cuda" else ["cpu"]}
    (folder / "database_tuning_record.json").write_text(json.dumps([0, [trace, [0.001], target, arguments]]) + "\n")
    (record,) = read_logs(folder).records
    return record


def tiled(function: Any, block_name: str) -> Any:
    """A schedule in MetaSchedule's manner: sampled tiles, a cache, parallel and vectorized loops, a split-off init."""
    schedule = s_tir.Schedule(function, seed=3)
    block = schedule.get_sblock(block_name)
    i, j, k = schedule.get_loops(block)
    i0, i1 = schedule.split(i, schedule.sample_perfect_tile(i, 2, 16, [4, 2]))
    j0, j1 = schedule.split(j, factors=[None, schedule.sample_categorical([4, 8], [0.5, 0.5], 1)])
    schedule.reorder(i0, j0, k, i1, j1)
    copy = schedule.cache_write(block, 0, "global")
    schedule.reverse_compute_at(copy, j0, preserve_unit_loops=True)
    schedule.enter_postproc()
    outermost = schedule.fuse(i0, j0)
    schedule.annotate(outermost, "pragma_auto_unroll_max_step", 16)
    schedule.parallel(outermost)
    schedule.vectorize(j1)
    schedule.decompose_reduction(block, k)
    return schedule


@pytest.mark.parametrize("make", [dense_relu, conv2d, softmax])
def test_functions_come_back(make: Any) -> None:
    """Written in the old schema and rebuilt, a function is what it was."""
    function = make()
    assert same_function(rebuild_function(decode_module(OldJson().module(function))), function)


def test_an_old_trace_replays(tmp_path: Path) -> None:
    """The translated trace gives the very function that the schedule gave, and the right answer."""
    function = dense_relu()
    schedule = tiled(function, "matmul")
    outcome = replay_meta(database(tmp_path, function, old_trace(schedule)), cpu())
    assert isinstance(outcome, Replayed)
    assert outcome.check is not None and outcome.check.passed
    assert same_function(outcome.scheduled, schedule.mod["main"])
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((8, 32)).astype("float32"), rng.standard_normal((32, 16)).astype("float32")
    np.testing.assert_allclose(run(outcome.scheduled, a, b, out=(8, 16)), np.maximum(a @ b, 0), rtol=1e-4, atol=1e-5)


def test_a_gpu_trace_binds_on_a_gpu_and_spreads_on_a_cpu(tmp_path: Path) -> None:
    """Thread bindings are kept for CUDA; a CPU gets a parallel loop instead."""
    function = softmax()
    schedule = s_tir.Schedule(function)
    for name in ("T_softmax_maxelem", "T_softmax_exp", "T_softmax_expsum", "T_softmax_norm"):
        loops = schedule.get_loops(schedule.get_sblock(name))
        outer, inner = schedule.split(loops[0], factors=[None, 2])
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
    record = database(tmp_path, function, old_trace(schedule), "cuda")
    on_gpu, on_cpu = replay_meta(record, cuda()), replay_meta(record, cpu())
    assert isinstance(on_gpu, Replayed) and isinstance(on_cpu, Replayed)
    assert "threadIdx.x" in on_gpu.scheduled.script() and "threadIdx" not in on_cpu.scheduled.script()
    assert "T.parallel" in on_cpu.scheduled.script()


def test_a_trace_is_laid_over_a_function_with_other_names(tmp_path: Path) -> None:
    """Blocks correspond by what they compute: the model's own names do not matter."""
    logged = dense_relu()
    a, b = te.placeholder((8, 32), name="x"), te.placeholder((32, 16), name="y")
    k = te.reduce_axis((0, 32), name="r")
    product = te.compute((8, 16), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="my_product")
    result = te.compute(
        (8, 16), lambda i, j: tvm.tirx.max(product[i, j], tvm.tirx.const(0.0, "float32")), name="my_relu"
    )
    function = te.create_prim_func([a, b, result], index_dtype_override="int64")
    database(tmp_path, logged, old_trace(tiled(logged, "matmul")))
    library = ScheduleLibrary.from_files(tmp_path)
    found = library.find(function, cpu())
    assert found is not None and "my_product_update" in found.scheduled.script()
    assert library.find(conv2d(), cpu()) is None


def test_unknown_instructions_stop_with_their_place(tmp_path: Path) -> None:
    """ "Read, not replayed", with the instruction."""
    function = dense_relu()
    trace = old_trace(tiled(function, "matmul"))
    trace[0].insert(1, ["TransformLayout", ["b0"], [0, 1, "{}", None], []])
    outcome = replay_meta(database(tmp_path, function, trace), cpu())
    assert isinstance(outcome, NotReplayed)
    assert (outcome.step, outcome.reason) == (1, "instruction 'TransformLayout' has no counterpart here")
    assert "TransformLayout" in str(outcome)


def test_modules_that_cannot_be_rebuilt_say_why(tmp_path: Path) -> None:
    """A record without its workload file, a damaged module, a function that calls out."""
    function = dense_relu()
    record = database(tmp_path, function, old_trace(tiled(function, "matmul")))
    (tmp_path / "database_workload.json").write_text(json.dumps(["42", "AAAA"]) + "\n")
    fresh = read_logs(tmp_path / "database_tuning_record.json").records[0]
    (tmp_path / "alone").mkdir()
    lonely = tmp_path / "alone" / "database_tuning_record.json"
    lonely.write_text((tmp_path / "database_tuning_record.json").read_text())
    (without,) = read_logs(lonely).records
    assert record.workload == fresh.workload == "42"
    outcome = replay_meta(without, cpu())
    assert isinstance(outcome, NotReplayed) and "no workload file" in outcome.reason
    text = OldJson().module(softmax())
    for old, new in (("tir.exp", "tir.call_packed"), ("tir.BufferStore", "tir.Evaluate")):
        graph = json.loads(json.dumps(decode_module(text)).replace(old, new))
        with pytest.raises(OldTirError):
            rebuild_function(graph)
    with pytest.raises(OldTirError):
        decode_module("not base64!")


def test_relax_functions_are_what_is_tested() -> None:
    """The helpers lower through Relax, so that names and attributes are those of real models."""
    assert conv2d().attrs["tirx.noalias"]
    assert relax is not None
