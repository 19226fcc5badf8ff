"""Ansor steps on today's schedules: the answer of every replay against numpy and torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gacer_tvm._tvm import s_tir
from gacer_tvm.logs import NotReplayed, Replayed, read_logs
from gacer_tvm.logs.ansor_replay import replay_steps
from gacer_tvm.logs.dag import Dag
from gacer_tvm.logs.dag_te import prim_func_of
from gacer_tvm.logs.identify import dag_axes, identify
from gacer_tvm.logs.replay import replay_ansor, replay_onto
from gacer_tvm.logs.steps import parse_steps
from gacer_tvm.logs.twin import cpu_twin, thread_extents
from gacer_tvm.logs.verify import verify_schedule

from .helpers import ansor_line, cpu, cuda, matmul_dag, record_of, run
from .lowered import conv2d

PLACES = [0, 1, "matmul", 2, "out"]
FACTORS = st.sampled_from([1, 2, 3, 4])


def scheduled(n: int, k: int, m: int, raw: list, on_cpu: bool = False):
    """The sum of a product and a matrix, scheduled by steps."""
    dag = matmul_dag(n, k, m)
    schedule = s_tir.Schedule(prim_func_of(dag))
    replay_steps(schedule, PLACES, dag_axes(dag), parse_steps(raw), on_cpu=on_cpu)
    return schedule.mod["main"]


def check(function, n: int, k: int, m: int) -> None:
    """Against numpy."""
    rng = np.random.default_rng(n * 10007 + k * 101 + m)
    a, b, c = (rng.standard_normal(shape).astype("float32") for shape in ((n, k), (k, m), (n, m)))
    np.testing.assert_allclose(run(function, a, b, c, out=(n, m)), a @ b + c, rtol=1e-4, atol=1e-4)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(FACTORS, min_size=7, max_size=7), st.integers(5, 40), st.integers(5, 40), st.integers(5, 40))
def test_cpu_sketch_with_any_factors(f: list[int], n: int, k: int, m: int) -> None:
    """The auto-scheduler's CPU sketch; factors need not divide, as they need not in padded tensor expressions."""
    raw = [
        ["SP", 2, 0, n, f[:3], 1],
        ["SP", 2, 4, m, f[3:6], 1],
        ["SP", 2, 8, k, f[6:], 1],
        ["RE", 2, [0, 4, 1, 5, 8, 2, 6, 9, 3, 7]],
        ["FSP", 4, 0, 0, 2],
        ["FSP", 4, 3, 1, 2],
        ["RE", 4, [0, 3, 1, 4, 2, 5]],
        ["CA", 2, 4, 3],
        ["FU", 4, [0, 1]],
        ["AN", 4, 0, 3],
        ["PR", 2, 0, "auto_unroll_max_step$8"],
        ["AN", 2, 9, 2],
    ]
    check(scheduled(n, k, m, raw), n, k, m)


def gpu_sketch(n: int, k: int, m: int, f: list[int]) -> list:
    """The auto-scheduler's GPU sketch: virtual threads, threads, a register tile, cooperative copies into shared memory."""
    return [
        ["SP", 2, 0, n, [f[0], f[1], f[2], 1], 1],
        ["SP", 2, 5, m, [f[3], f[4], f[5], 1], 1],
        ["SP", 2, 10, k, [f[6], 1], 1],
        ["RE", 2, [0, 5, 1, 6, 2, 7, 10, 11, 3, 8, 12, 4, 9]],
        ["FSP", 4, 0, 0, 3],
        ["FSP", 4, 4, 1, 3],
        ["RE", 4, [0, 4, 1, 5, 2, 6, 3, 7]],
        ["CA", 2, 4, 5],
        ["CHR", 1, "shared", [2]],
        ["CA", 2, 3, 6],
        ["CHR", 0, "shared", [3]],
        ["CA", 1, 4, 6],
        ["FU", 6, [0, 1]],
        ["AN", 6, 0, 5],
        ["FU", 6, [1, 2]],
        ["AN", 6, 1, 4],
        ["FU", 6, [2, 3]],
        ["AN", 6, 2, 6],
        ["FU", 3, [0, 1]],
        ["SP", 3, 0, 0, [1], 1],
        ["AN", 3, 1, 2],
        ["FFSP", 3, 0, [1, 0], 1, 1],
        ["AN", 3, 1, 6],
        ["FU", 1, [0, 1]],
        ["SP", 1, 0, 0, [2], 1],
        ["AN", 1, 1, 2],
        ["FFSP", 1, 0, [1, 0], 1, 1],
        ["AN", 1, 1, 6],
        ["PR", 4, 0, "auto_unroll_max_step$16"],
    ]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(FACTORS, min_size=7, max_size=7), st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
def test_gpu_sketch_twin(f: list[int], rows: int, columns: int, steps: int) -> None:
    """The twin of a GPU schedule computes the product, and the thread extents are those of the factors.

    Factors divide, as the auto-scheduler's do.
    """
    n, m, k = f[0] * f[1] * f[2] * rows, f[3] * f[4] * f[5] * columns, f[6] * steps
    function = scheduled(n, k, m, gpu_sketch(n, k, m, f))
    extents = thread_extents(function)
    assert extents["threadIdx.x"] == f[1] * f[4] and extents["vthread.x"] == f[0] * f[3]
    assert extents["blockIdx.x"] == rows * columns
    check(cpu_twin(function), n, k, m)


def test_gpu_steps_become_a_cpu_schedule() -> None:
    """No threads, no shared memory, a parallel grid, the same answer."""
    function = scheduled(16, 24, 32, gpu_sketch(16, 24, 32, [1, 2, 2, 2, 4, 1, 4]), on_cpu=True)
    text = function.script()
    assert "threadIdx" not in text and "shared" not in text and "T.parallel" in text
    check(function, 16, 24, 32)


def test_rfactor_and_roots() -> None:
    """A factored reduction, its parts placed at the root and into the output."""
    raw = [
        ["SP", 2, 2, 24, [4], 1],
        ["RF", 2, 3, 2],
        ["RE", 2, [0, 1, 3, 2]],
        ["CR", 2],
        ["CA", 3, 5, 1],
        ["FU", 2, [0, 1]],
        ["AN", 2, 0, 3],
        ["AN", 2, 2, 2],
    ]
    function = scheduled(6, 24, 10, raw)
    assert "matmul_rf" in function.script()
    check(function, 6, 24, 10)


def test_storage_align_and_cache_write() -> None:
    """A local copy whose rows are padded, written back by a stage of its own."""
    raw = [["CHW", 2, "global"], ["CA", 2, 3, 0], ["SA", 2, 1, 32, 8], ["FU", 5, [0, 1]], ["AN", 5, 0, 3]]
    function = scheduled(6, 5, 16, raw)
    assert "buffer_dim_align" in function.script()
    check(function, 6, 5, 16)


def test_a_dependent_thread_loop_has_no_twin() -> None:
    """Two loops bound to the same threads are one variable on a GPU: serial loops would not mean the same."""
    dag = matmul_dag(16, 8, 16)
    schedule = s_tir.Schedule(prim_func_of(dag))
    i, j, _ = schedule.get_loops(schedule.get_sblock("matmul"))
    schedule.bind(i, "threadIdx.x")
    schedule.bind(j, "threadIdx.x")
    with pytest.raises(ValueError, match="depends on the threadIdx"):
        cpu_twin(schedule.mod["main"])


def test_named_matmul_record() -> None:
    """A record of a registered function, replayed and checked."""
    raw = [["CA", 2, 4, 0], ["FU", 4, [0, 1]], ["AN", 4, 0, 3]]
    outcome = replay_ansor(record_of(ansor_line(["matmul_add", 24, 16, 20, "float32"], raw)), cpu())
    assert isinstance(outcome, NotReplayed)  # a stage is placed at the first loop, which is then fused away
    raw = [["CA", 2, 4, 1], ["FU", 4, [0, 1]], ["AN", 4, 0, 3]]
    outcome = replay_ansor(record_of(ansor_line(["matmul_add", 24, 16, 20, "float32"], raw)), cpu())
    assert isinstance(outcome, Replayed) and outcome.check is not None and outcome.check.passed


@pytest.mark.parametrize(
    ("key", "raw", "inputs", "op_class"),
    [
        (["ansor_mm", 24, 16, 20, "float32"], [["FU", 2, [0, 1]], ["AN", 2, 0, 3]], [(24, 16), (16, 20)], "dense"),
        (
            ["my_gemm", 24, 16, 20],
            [["CHW", 2, "local"], ["CA", 2, 3, 0], ["AN", 3, 0, 3]],
            [(24, 16), (16, 20)],
            "dense",
        ),
        # The steps say that it is padded: the loop has 8 iterations.
        (
            ["conv2d_ansor", [2, 3, 8, 8], [4, 3, 3, 3]],
            [["SP", 3, 2, 8, [4], 1], ["CI", 1]],
            [(2, 3, 8, 8), (4, 3, 3, 3)],
            "conv2d",
        ),
    ],
)
def test_named_by_their_users(key: list, raw: list, inputs: list, op_class: str) -> None:
    """Names and argument forms of other people's logs, computed as PyTorch computes them."""
    torch = pytest.importorskip("torch")
    record = record_of(ansor_line(key, raw))
    outcome = replay_ansor(record, cpu())
    assert isinstance(outcome, Replayed) and outcome.how == "name" and record.op_class == op_class
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(shape).astype("float32") for shape in inputs)
    if op_class == "dense":
        wanted = a @ b
    else:
        wanted = torch.conv2d(torch.tensor(a), torch.tensor(b), padding=1).numpy()
    np.testing.assert_allclose(run(outcome.scheduled, a, b, out=wanted.shape), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "raw", "reason"),
    [
        (["my_function", 3], [], "no computation is known for the registered function 'my_function'"),
        (["0" * 32], [], "a hash without shapes"),
        (["0" * 32, [4, 4], [4, 4], [4, 4]], [], "no known computation has this key's hash"),
        (["matmul_add", 8, 8, 8, "float32"], [["SP", 2, 0, 16, [4], 1]], "splits a loop of 16, here it has 8"),
        (["matmul_add", 8, 8, 8, "float32"], [["CI", 2]], ""),
    ],
)
def test_not_replayed_says_why(key: list, raw: list, reason: str) -> None:
    """Unknown computations, steps of another one, and steps that today's schedules refuse (inlining a reduction)."""
    outcome = replay_ansor(record_of(ansor_line(key, raw)), cpu())
    assert isinstance(outcome, NotReplayed)
    assert reason in outcome.reason and outcome.reason
    if raw:
        assert outcome.step == 0 and outcome.step_text in str(outcome)


def test_a_cpu_record_is_not_bound_to_a_gpu() -> None:
    """There are no threads to bind in it."""
    outcome = replay_ansor(record_of(ansor_line(["matmul_add", 8, 8, 8, "float32"], [])), cuda())
    assert isinstance(outcome, NotReplayed) and "no thread bindings" in outcome.reason


def test_a_wrong_schedule_does_not_pass() -> None:
    """The numerical check is what stands between a log and a model: it must notice."""
    dag = matmul_dag(6, 5, 8)
    right = prim_func_of(dag)
    assert verify_schedule(right, right, cpu()).passed
    forgets_c = Dag((*dag.stages[:4], replace(dag.stages[4], body=dag.stages[4].body.args[0])))
    assert not verify_schedule(right, prim_func_of(forgets_c), cpu()).passed


def test_resnet_18_for_cuda_is_accounted_for(shared_dir: Path) -> None:
    """Each of the 24 keys: how its computation is known, what it is, and that it becomes kernels with threads."""
    records = read_logs(shared_dir / "ansor" / "tvm_ci_resnet-18-NHWC-B1-cuda.json").records
    outcomes = {record.line: replay_ansor(record, cuda(), verify=False) for record in records}
    assert sorted(outcomes) == list(range(1, 25))
    how: dict[str, int] = {}
    classes: dict[str, int] = {}
    for record in records:
        outcome = outcomes[record.line]
        assert isinstance(outcome, Replayed), str(outcome)
        how[outcome.how] = how.get(outcome.how, 0) + 1
        classes[record.op_class] = classes.get(record.op_class, 0) + 1
        extents = thread_extents(outcome.scheduled)
        assert extents["blockIdx.x"] >= 1 and 1 < extents["threadIdx.x"] <= 1024
    assert how == {"dictionary": 23, "hash": 1}
    assert classes == {"conv2d_winograd": 12, "conv2d": 8, "pool": 2, "dense": 1, "elementwise": 1}


def test_samples_all_replay_on_cpu_and_cuda(shared_dir: Path) -> None:
    """Every record of every sample: 52 of 52; the numerical checks of some of them are below."""
    outcomes = [
        replay_ansor(record, cuda() if record.target.device == "gpu" else cpu(), verify=False)
        for record in read_logs(shared_dir / "ansor").records
    ]
    assert [str(item) for item in outcomes if isinstance(item, NotReplayed)] == []
    assert len(outcomes) == 52


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("tvm_ci_matmul.json", 2),
        ("tvm_ci_resnet-50-NHWC-B1-llvm.json", 3),  # softmax with factored reductions
        ("tvm_ci_resnet-50-NHWC-B1-llvm.json", 11),  # 1x1 convolution
        ("tvm_ci_resnet-50-NHWC-B1-llvm.json", 17),  # 3x3 convolution, padding at the root
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 2),
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 4),  # dense
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 16),  # softmax across threads
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 22),  # Winograd, four kernels
    ],
)
def test_samples_answer_right(shared_dir: Path, name: str, line: int) -> None:
    """Numerically: CPU kernels themselves, CUDA kernels as their twins (on the device where there is one)."""
    (record,) = [item for item in read_logs(shared_dir / "ansor" / name).records if item.line == line]
    outcome = replay_ansor(record, cuda() if record.target.device == "gpu" else cpu())
    assert isinstance(outcome, Replayed), str(outcome)
    assert outcome.check is not None and outcome.check.passed


def test_conv2d_sample_on_the_cpu_against_torch(shared_dir: Path) -> None:
    """The tutorials' CUDA record, made a CPU schedule, on a function of ours, against PyTorch."""
    torch = pytest.importorskip("torch")
    (record,) = read_logs(shared_dir / "ansor" / "tvm_ci_conv2d.json").records
    function = conv2d((1, 512, 7, 7), (512, 512, 3, 3), layout="NCHW")
    found = identify(record.workload, record.schedule.steps)
    outcome = replay_onto(record, found.dag, found.how, function, cpu(), verify=False)
    assert isinstance(outcome, Replayed), str(outcome)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 512, 7, 7)).astype("float32")
    w = (rng.standard_normal((512, 512, 3, 3)) / 70).astype("float32")
    b = rng.standard_normal((1, 512, 1, 1)).astype("float32")
    wanted = torch.relu(torch.conv2d(torch.tensor(x), torch.tensor(w), torch.tensor(b.reshape(-1)), padding=1)).numpy()
    np.testing.assert_allclose(run(outcome.scheduled, x, w, b, out=(1, 512, 7, 7)), wanted, rtol=1e-3, atol=1e-4)
