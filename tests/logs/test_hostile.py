"""Logs made to harm: code hung on loops, indices beyond buffers, names that are source, numbers of impossible size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gacer_tvm._tvm import te, tir
from gacer_tvm.logs import NotReplayed, read_logs
from gacer_tvm.logs.bounds import OutOfBounds, check_bounds
from gacer_tvm.logs.dag_extents import dag_from_text
from gacer_tvm.logs.dag_text import DagTextError
from gacer_tvm.logs.data_rows import log_rows
from gacer_tvm.logs.meta_replay import replay_meta
from gacer_tvm.logs.old_tir import OldTirError, decode_module, rebuild_function
from gacer_tvm.logs.replay import replay_ansor

from .helpers import ansor_line, cpu, cuda, record_of
from .lowered import conv2d, dense_relu, softmax
from .old_json import OldJson
from .test_metaschedule import database

GET = [["GetSBlock", [], ["matmul", "main"], ["b0"]], ["GetLoops", ["b0"], [], ["l1", "l2", "l3"]]]


def meta_outcome(folder: Path, *instructions: list[Any], kind: str = "llvm") -> Any:
    """A product with these instructions behind the first two."""
    record = database(folder, dense_relu(), [[*GET, *instructions], []], kind)
    return replay_meta(record, cuda() if kind == "cuda" else cpu(), verify=False)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        # LLVM's own text as an argument: TVM would link it in, constructors and all.
        (["Annotate", ["l1", '"define void @f() { ret void }"'], ["pragma_import_llvm"], []], "pragma_import_llvm"),
        (["Annotate", ["l1", '"int f;"'], ["pragma_import_c"], []], "pragma_import_c"),
        (["Bind", ["l1"], ["threadIdx.x; f()"], []], "threadIdx.x; f()"),
        (["CacheWrite", ["b0"], [0, "shared]; f(); ["], ["b4"]], "has no counterpart"),
    ],
)
def test_no_code_from_a_trace(tmp_path: Path, instruction: list[Any], reason: str) -> None:
    """What would carry text into a compiler stops the replay."""
    for kind in ("llvm", "cuda"):
        outcome = meta_outcome(tmp_path, instruction, kind=kind)
        assert isinstance(outcome, NotReplayed) and outcome.step == 2
        assert reason in outcome.reason


def test_no_code_from_a_block() -> None:
    """The same hung on a block of the saved function itself."""
    text = json.dumps(decode_module(OldJson().module(softmax())))
    assert '"axis"' in text
    with pytest.raises(OldTirError, match="pragma_import_llvm"):
        rebuild_function(json.loads(text.replace('"axis"', '"pragma_import_llvm"')))


def test_no_code_from_a_name() -> None:
    """Names of buffers stand in CUDA source."""
    text = json.dumps(decode_module(OldJson().module(softmax())))
    hostile = "x; } __global__ void f() {"
    named = text.replace("T_softmax_maxelem", hostile).replace("v_i0", "1 + " + hostile)
    function = rebuild_function(json.loads(named))
    names = [str(buffer.name) for buffer in function.body.block.alloc_buffers]
    assert any("__global__" in name for name in names) and all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names)
    assert "1 + x" not in function.script()


@pytest.mark.parametrize(
    ("formula", "safe"),
    [
        (lambda a, k, i: a[i], True),
        (lambda a, k, i: a[i + 1], False),
        (lambda a, k, i: a[i - 1], False),
        (lambda a, k, i: tir.exp(a[i + 1]), False),
        (lambda a, k, i: tir.if_then_else(i > 0, a[i - 1], tir.const(0.0, "float32")), True),
        (lambda a, k, i: tir.if_then_else(i > 0, tir.const(0.0, "float32"), a[i - 1]), False),
        # Both sides of a select are computed.
        (lambda a, k, i: tir.Select(i > 0, a[i - 1], tir.const(0.0, "float32")), False),
        (lambda a, k, i: a[k[i]], False),
        (lambda a, k, i: a[tir.max(tir.min(k[i], 7), 0)], True),
        (lambda a, k, i: a[tir.max(tir.min(k[i + 1], 7), 0)], False),
        (lambda a, k, i: a[i // 2] + a[(i + 5) % 8], True),
        (lambda a, k, i: ((k[i] >> i) & 7).astype("float32"), True),
        (lambda a, k, i: ((k[i + 1] >> i) & 7).astype("float32"), False),
        # Right for integers of any size, not for those of 32 bits.
        (lambda a, k, i: a[tir.truncmod(i * 999999999, 8)], False),
    ],
)
def test_bounds_are_proved(formula: Any, safe: bool) -> None:
    """What a saved function would touch outside its buffers is found before anything is compiled."""
    a, k = te.placeholder((8,), name="a"), te.placeholder((8,), name="k", dtype="int32")
    function = te.create_prim_func([a, k, te.compute((8,), lambda i: formula(a, k, i))])
    if safe:
        check_bounds(function)
    else:
        with pytest.raises(OutOfBounds):
            check_bounds(function)


@pytest.mark.parametrize("function", [conv2d(), conv2d((1, 8, 9, 9), (4, 8, 3, 3), stride=2, layout="NCHW"), softmax()])
def test_real_functions_are_in_bounds(function: Any) -> None:
    """Padding included."""
    check_bounds(function)


def test_a_saved_function_beyond_its_buffers() -> None:
    """A loop made longer than its buffer: read, not replayed."""
    graph = decode_module(OldJson().module(dense_relu()))
    loops = [n for n, node in enumerate(graph["nodes"]) if node["type_key"] == "tir.For"]
    assert loops
    for loop in loops:
        damaged = json.loads(json.dumps(graph))
        longer = dict(damaged["nodes"][int(damaged["nodes"][loop]["attrs"]["extent"])])
        longer["attrs"] = {**longer["attrs"], "value": str(int(longer["attrs"]["value"]) + 1)}
        damaged["nodes"].append(longer)
        damaged["nodes"][loop]["attrs"]["extent"] = str(len(damaged["nodes"]) - 1)
        with pytest.raises(OldTirError, match="cannot be proved to stay inside"):
            rebuild_function(damaged)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([["PR", 2, 0, "auto_unroll_max_step$²"]], "has no counterpart"),
        ([["PR", 2, 0, "auto_unroll_max_step$" + "9" * 40]], "has no counterpart"),
        ([["CHW", 2, "shared]; f(); ["]], "has no counterpart"),
        ([["AN", 2, 2, 1]], "unrolls 32768 iterations"),
        ([["AN", 2, 1, 2]], "vectorizes a loop of 4096"),
    ],
)
def test_steps_ask_for_nothing_impossible(steps: list[Any], reason: str) -> None:
    """Digits that are no digits, memories that are no memories, code of any size."""
    record = record_of(ansor_line(["matmul_add", 8, 32768, 4096, "float32"], steps))
    log_rows([record])
    outcome = replay_ansor(record, cpu(), verify=False)
    assert isinstance(outcome, NotReplayed) and reason in outcome.reason


@pytest.mark.parametrize(
    "text",
    [
        f"A = PLACEHOLDER [4]\nB(i) = (A[i] + {'9' * 5000})\n",
        f"A = PLACEHOLDER [{'9' * 5000}]\nB(i) = (A[i] + 1f)\n",
        "A = PLACEHOLDER [4]\nB(i) = (A[i] + 1e999f64)\n",
        "A = PLACEHOLDER [-4]\nB(i) = (A[i] + 1f)\n",
        "A = PLACEHOLDER [0]\nB(i) = (A[i] + 1f)\n",
        f"A = PLACEHOLDER [4]\nB(i) = (A[floordiv(i, {'9' * 18})] + 1f)\n",
        f"B(i, j) = select(((floormod(i, {'4' * 5000}) == 1) && (floormod(j, 4) == 1)), 1f, 0f)\n",
        "B(i, j) = select(((floormod(i, 4) == 1) && (floormod(j, 4) == 1)), 1.1.1f, 0f)\n",
    ],
)
def test_numbers_of_impossible_size(text: str) -> None:
    """In printed computations."""
    with pytest.raises(DagTextError):
        dag_from_text(text)


def test_nothing_for_a_gpu_runs_on_the_host() -> None:
    """A record that binds only part of a function: the rest would be host code, which dies on device memory."""
    bound = [["FU", 4, [0, 1]], ["SP", 4, 0, 64, [8], 1], ["AN", 4, 0, 5], ["AN", 4, 1, 6]]
    key = ["matmul_add", 8, 8, 8, "float32"]
    half = replay_ansor(record_of(ansor_line(key, bound, "cuda")), cuda(), verify=False)
    assert isinstance(half, NotReplayed) and "not bound to threads" in half.reason
    whole = replay_ansor(record_of(ansor_line(key, [["CA", 2, 4, 1], *bound], "cuda")), cuda(), verify=False)
    assert not isinstance(whole, NotReplayed), str(whole)


def test_a_read_log_reaches_nothing(tmp_path: Path) -> None:
    """Reading opens the log and what stands beside it, whatever paths the lines hold."""
    path = tmp_path / "log.json"
    line = json.loads(ansor_line(["/etc/passwd", "../../x"], []))
    line["i"][0][1] = "cuda -libs=/etc/passwd -mtriple=$(touch x)"
    path.write_text(json.dumps(line) + "\n")
    (record,) = read_logs(path).records
    assert record.target.kind == "cuda" and sorted(p.name for p in tmp_path.iterdir()) == ["log.json"]
