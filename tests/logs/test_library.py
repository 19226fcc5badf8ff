"""Schedules found for kernels as models have them: by what they compute, whatever is fused behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.logs import NotReplayed, ScheduleLibrary, convert, find_schedule, read_logs
from gacer_tvm.logs import library as log_library
from gacer_tvm.logs.dag_match import anchor_form, match
from gacer_tvm.logs.dag_of_tir import dag_of_tir
from gacer_tvm.logs.dag_text import workload_hash
from gacer_tvm.logs.families import candidate_texts

from .helpers import ansor_line, cpu, cuda, run
from .lowered import conv2d, dense_relu, softmax

N, H, CI, CO = 1, 8, 16, 32
CONV = ((N, H, H, CI), (3, 3, CI, CO))
OUT = (N, H, H, CO)
VECTOR = (1, 1, 1, CO)


def key_of(tail: tuple[tuple[int, ...], ...], mark: str) -> list[Any]:
    """A workload key as TVM 0.10 and later wrote it, for a printed text that contains `mark` and ends as it ends."""
    shapes = (*CONV, *tail, OUT)
    for text in candidate_texts(shapes):
        if "p0" in text and text.rstrip().endswith(mark):
            return [workload_hash(text), *[list(shape) for shape in shapes]]
    raise AssertionError(mark)


def cpu_steps(conv: int, out: int) -> list:
    """Tiling, placing and vectorizing of an NHWC convolution at stage `conv` under its last stage `out`."""
    return [
        ["SP", conv, 0, 1, [1, 1, 1], 1],
        ["SP", conv, 4, H, [2, 2, 1], 1],
        ["SP", conv, 8, H, [1, 2, 2], 1],
        ["SP", conv, 12, CO, [2, 1, 8], 1],
        ["SP", conv, 16, 3, [1], 1],
        ["SP", conv, 18, 3, [3], 1],
        ["SP", conv, 20, CI, [4], 1],
        ["RE", conv, [0, 4, 8, 12, 1, 5, 9, 13, 16, 18, 20, 2, 6, 10, 14, 17, 19, 21, 3, 7, 11, 15]],
        ["FSP", out, 0, 0, 2],
        ["FSP", out, 3, 1, 2],
        ["FSP", out, 6, 2, 2],
        ["FSP", out, 9, 3, 2],
        ["RE", out, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]],
        ["CA", conv, out, 7],
        ["CI", 1],
        ["FU", out, [0, 1, 2, 3]],
        ["AN", out, 0, 3],
        ["AN", conv, 21, 2],
    ]


def shifted(steps: list, by: int) -> list:
    """The same steps after `by` more steps in front: only follow splits name steps."""
    return [[*item[:3], item[3] + by, *item[4:]] if item[0] == "FSP" else item for item in steps]


def bias_relu_record() -> str:
    """convolution + bias + ReLU: stages p0, pad, p1, conv, p2, add, relu."""
    key = key_of((VECTOR,), "T_relu(ax0, ax1, ax2, ax3) = max(T_add[ax0, ax1, ax2, ax3], 0f)")
    return ansor_line(key, [["CI", 5], *shifted(cpu_steps(3, 6), 1)])


def bare_record() -> str:
    """A convolution alone, its output copied out of a cache: stages p0, pad, p1, conv, and the copy."""
    key = key_of((), "p1[ry, rx, rc, ff])")
    return ansor_line(key, [["CHW", 3, "local"], *shifted(cpu_steps(3, 4), 1)])


def library(tmp_path: Path, *lines: str) -> ScheduleLibrary:
    """A library over a log of these lines."""
    path = tmp_path / "log.json"
    path.write_text("\n".join(lines) + "\n")
    return ScheduleLibrary.from_files(path)


def arrays_of(function: Any) -> list[np.ndarray]:
    """Random inputs of a function."""
    rng = np.random.default_rng(0)
    shapes = [tuple(int(extent) for extent in param.ty.shape) for param in function.params[:-1]]
    return [(rng.standard_normal(shape) / math.sqrt(CI)).astype("float32") for shape in shapes]


def reference(tail: tuple[str, ...], arrays: list[np.ndarray]) -> np.ndarray:
    """The same network in PyTorch."""
    torch = pytest.importorskip("torch")
    x, w, *rest = [torch.tensor(array) for array in arrays]
    value = torch.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), padding=1).permute(0, 2, 3, 1)
    for name in tail:
        if name == "scale":
            value = value * rest.pop(0)
        elif name in ("bias", "residual"):
            value = value + rest.pop(0)
        else:
            value = torch.relu(value) if name == "relu" else torch.sigmoid(value)
    return value.numpy()


@pytest.mark.parametrize(
    "tail",
    [
        ("bias", "relu"),
        ("residual", "relu"),
        ("bias", "residual", "relu"),
        ("scale", "bias", "sigmoid"),
        ("relu",),
        (),
    ],
)
@pytest.mark.parametrize("make", [bias_relu_record, bare_record])
def test_one_record_serves_every_tail(tmp_path: Path, make: Any, tail: tuple[str, ...]) -> None:
    """With the same anchor any pointwise tail will do, on either side; the answer is PyTorch's."""
    function = conv2d(tail=tail)
    found = find_schedule(function, cpu(), library(tmp_path, make()))
    assert found is not None
    text = found.script()
    assert "T.parallel" in text and "T.vectorized" in text
    arrays = arrays_of(function)
    np.testing.assert_allclose(run(found, *arrays, out=OUT), reference(tail, arrays), rtol=1e-4, atol=1e-5)


def test_other_computations_find_nothing(tmp_path: Path) -> None:
    """Another kernel size, stride, padding, layout or operator is another anchor."""
    logs = library(tmp_path, bias_relu_record())
    others = [
        conv2d(weight=(1, 1, CI, CO), padding=0),
        conv2d(stride=2),
        conv2d(padding=0),
        conv2d((N, CI, H, H), (CO, CI, 3, 3), layout="NCHW"),
        dense_relu(),
        softmax(),
    ]
    assert [logs.find(function, cpu()) for function in others] == [None] * len(others)
    assert logs.refused == []


def test_a_cpu_record_serves_no_gpu(tmp_path: Path) -> None:
    """There is nothing to bind; the other way round there is (see the replay tests)."""
    assert library(tmp_path, bias_relu_record()).find(conv2d(), cuda()) is None


def test_the_library_is_a_provider(tmp_path: Path) -> None:
    """Called as the kernel library calls it; the source names the log line."""
    logs = library(tmp_path, "# comment", bias_relu_record())
    provided = logs(conv2d(), cpu())
    assert provided is not None
    scheduled, source = provided
    assert scheduled.attrs["tirx.is_scheduled"]
    assert source == f"ansor log {tmp_path / 'log.json'}:2 (hash)"
    assert logs(softmax(), cpu()) is None


@pytest.mark.parametrize(("seconds", "given"), [([1e-3, 2e-3], False), ([2e-3, 1e-3], True)])
def test_a_slower_kernel_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float], given: bool
) -> None:
    """With a baseline at hand the logged schedule must beat it; what each takes (baseline, logged) is set here."""
    baseline = library(tmp_path, bias_relu_record()).find(conv2d(), cpu())
    assert baseline is not None
    monkeypatch.setattr(log_library, "time_functions", lambda functions, target: seconds)
    path = tmp_path / "record.json"
    path.write_text(bias_relu_record() + "\n")
    judged = ScheduleLibrary.from_files(path, baseline=lambda f, t: baseline.scheduled)
    assert (judged.find(conv2d(), cpu()) is not None) == given
    reasons = [r.reason for r in judged.refused if isinstance(r, NotReplayed)]
    assert any("default schedule" in reason for reason in reasons) == (not given)


def test_failed_records_are_passed_over(tmp_path: Path) -> None:
    """A candidate that failed when it was tuned is no schedule."""
    line = json.loads(bias_relu_record())
    line["r"] = [[1e10], 4, 1.0, 1600000000]
    assert library(tmp_path, json.dumps(line)).find(conv2d(), cpu()) is None


def test_anchors_and_tails() -> None:
    """The anchor is everything up to the convolution; the tail is pointwise and may differ."""
    plain, fused = dag_of_tir(conv2d(tail=())).dag, dag_of_tir(conv2d(tail=("bias", "residual", "relu"))).dag
    assert anchor_form(plain).key == anchor_form(fused).key
    assert (len(anchor_form(plain).tail), len(anchor_form(fused).tail)) == (0, 3)
    found = match(plain, fused)
    assert found is not None and found.tails == (0, 3)
    assert match(plain, dag_of_tir(conv2d(stride=2, tail=())).dag) is None


def test_converted_logs_serve_tvm_itself(tmp_path: Path) -> None:
    """The database is read by TVM's own pass, which schedules the function with it."""
    path = tmp_path / "log.json"
    path.write_text(bias_relu_record() + "\n" + ansor_line(["nobody_knows", 1], []) + "\n")
    done = convert(read_logs(path).records, tmp_path / "database", cpu())
    assert len(done.written) == 1
    assert [item.reason for item in done.refused] == [
        "no computation is known for the registered function 'nobody_knows'"
    ]
    function = conv2d()
    module = tvm.IRModule({"kernel": function.without_attr("global_symbol")})
    with cpu():
        scheduled = relax.transform.MetaScheduleApplyDatabase(str(tmp_path / "database"))(module)["kernel"]
    assert scheduled.attrs["tirx.is_scheduled"]
    arrays = arrays_of(function)
    np.testing.assert_allclose(
        run(scheduled, *arrays, out=OUT), reference(("bias", "relu"), arrays), rtol=1e-4, atol=1e-5
    )


def test_conversion_for_functions_of_a_model(tmp_path: Path) -> None:
    """Given a model's functions the database holds these, fused tails included."""
    path = tmp_path / "log.json"
    path.write_text(bias_relu_record() + "\n")
    function = conv2d(tail=("bias", "residual", "relu"))
    done = convert(read_logs(path).records, tmp_path / "database", cpu(), functions=[function, softmax()])
    assert len(done.written) == 1
    with cpu():
        module = relax.transform.MetaScheduleApplyDatabase(str(tmp_path / "database"))(tvm.IRModule({"k": function}))
    assert module["k"].attrs["tirx.is_scheduled"]
