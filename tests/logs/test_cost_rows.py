"""Old logs as rows of the cost model: what was computed, on what, how fast; marked by source, weighted, never twice."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gacer_tvm.cli import main
from gacer_tvm.cost import Device
from gacer_tvm.cost.facts import graph_facts
from gacer_tvm.cost.function import function_facts
from gacer_tvm.cost.host import processor
from gacer_tvm.cost.rows import read_rows
from gacer_tvm.cost.train import train
from gacer_tvm.errors import LogError
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.logs import read_logs, write_rows
from gacer_tvm.logs.cost_rows import FILE, LOG_WEIGHT
from gacer_tvm.logs.dag_te import prim_func_of

from ..cost import made
from ..models import convnet
from .helpers import ansor_line, matmul_dag
from .test_fuzz import mutate_json, mutate_text, seeds

MATMUL = ["matmul_add", 64, 32, 16, "float32"]
STEPS = [["SP", 2, 0, 64, [4], 1], ["AN", 4, 0, 3]]


def line(seconds: float, key: list = MATMUL, target: str = "llvm -keys=cpu -mcpu=core-avx2") -> str:
    """A record as Ansor wrote it in 2021, eight cores told."""
    value = json.loads(ansor_line(key, STEPS, target))
    value["r"][0] = [seconds, 2 * seconds, 3 * seconds]
    value["i"][0][2][0] = 8
    return json.dumps(value)


AUTOTVM = json.dumps({
    "input": ["llvm -model=m5", "dense_nopack.x86", [["TENSOR", [4, 32], "float32"], ["TENSOR", [16, 32], "float32"], None,
                                                     "float32"], {}],
    "config": {"index": 1, "code_hash": None, "entity": [["tile_k", "sp", [2, 16]]]},
    "result": [[2e-5], 0, 1.0, 1600000000], "version": 0.2, "tvm_version": "0.8.0",
})  # fmt: skip


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def test_a_workload_becomes_one_row_of_its_fastest_record(tmp_path: Path) -> None:
    log = write(tmp_path / "a.json", line(3e-4), line(1e-4), line(2e-4))
    done = write_rows(read_logs(log).records, tmp_path / "d")
    assert (done.rows, done.records, done.workloads, done.kernels) == (1, 3, 1, 1)
    data = read_rows(tmp_path / "d" / FILE)
    assert not data.skipped
    (row,) = data.alone
    assert row.s == (100.0, 120.0, 200.0, 280.0) and row.n == 3
    assert row.source == f"ansor:{log}:2" and row.weight == LOG_WEIGHT < 1
    (session,) = data.sessions.values()
    assert session.device.name == "log-core-avx2-8x" and (session.device.units, session.device.vector_bits) == (8, 256)
    assert "core-avx2" in session.processor and row.c == 8
    assert data.owners[row.k] == {"log:a.json"}
    facts = data.kernels[row.k]
    assert facts.opaque == 0 and facts.reduction == 32 and facts.elements == 64 * 16 and facts.inputs == 3
    assert facts == function_facts(prim_func_of(matmul_dag(64, 32, 16))) and facts.flops == 2 * 64 * 32 * 16 + 64 * 16


def test_facts_of_a_function_are_those_of_the_operator_that_calls_it(tmp_path: Path) -> None:
    graph = lower_tenants({"net": convnet(batch=2)}, "cpu", cache=tmp_path)[0]
    expected = graph_facts(graph)
    assert len(graph.operators) > 1
    for operator in graph.operators:
        found = function_facts(graph.module[operator.kernel].without_attr("global_symbol"), len(operator.writes))
        for name in ("flops", "elements", "points", "reduction", "inner", "contiguous", "multiply", "inputs", "temporary"):
            assert getattr(found, name) == getattr(expected[operator.index], name), (operator.name, name)
        if operator.chunking.divisible:
            assert (found.batch, found.chunks, found.batched_bytes) == (2, 1, expected[operator.index].batched_bytes)


def test_where_only_shapes_are_known_the_row_says_so_and_counts_half(tmp_path: Path) -> None:
    done = write_rows(read_logs(write(tmp_path / "a.log", AUTOTVM)).records, tmp_path)
    assert done.by_how == {"shapes only": 1}
    data = read_rows(tmp_path / FILE)
    (row,) = data.alone
    assert row.source == f"autotvm:{tmp_path / 'a.log'}:1" and row.weight == LOG_WEIGHT / 2
    facts = data.kernels[row.k]
    assert (facts.opaque, facts.batch, facts.chunks) == (1, 1, 0)
    assert facts.flops == 2 * 4 * 16 * 32 and facts.fixed_bytes == 4 * (4 * 32 + 16 * 32 + 4 * 16)


def test_what_gives_no_row_is_counted_with_the_first_place(tmp_path: Path) -> None:
    log = write(
        tmp_path / "a.json",
        "# a comment",
        line(1e-4, target="cuda -arch=sm_86"),
        line(1e-4, key=["matmul_add", 8, 8, 8, "float32"], target="cuda -arch=sm_86"),
        line(1e-4, key=["my_own_function", 3]),
        line(1e-4, target="hexagon"),
        line(1e-4)[:100],
    )
    done = write_rows(read_logs(log).records, tmp_path / "d")
    assert done.rows == 0 and not (tmp_path / "d").exists()
    reasons = {r.reason: (r.count, r.first) for r in done.refused}
    assert reasons.pop("no device model of the GPU cuda sm_86; name one (--device)") == (2, f"{log}:2")
    assert (1, f"{log}:4") in reasons.values() and (1, f"{log}:5") in reasons.values() and len(reasons) == 2
    assert f"no row: 2 x no device model of the GPU cuda sm_86; name one (--device) (first {log}:2)" in done.as_text()


def test_the_same_log_twice_adds_nothing_and_a_longer_one_what_is_new(tmp_path: Path) -> None:
    log = write(tmp_path / "a.json", line(1e-4))
    write_rows(read_logs(log).records, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    again = write_rows(read_logs(log).records, tmp_path)
    assert (again.rows, again.known) == (0, 1) and (tmp_path / FILE).read_bytes() == before
    write(log, line(1e-4), line(1e-4, key=["matmul_add", 8, 8, 8, "float32"]))
    more = write_rows(read_logs(log).records, tmp_path)
    assert (more.rows, more.known) == (1, 1) and len(read_rows(tmp_path / FILE).alone) == 2


def test_targets_that_differ_stand_in_sessions_of_their_own(tmp_path: Path) -> None:
    log = write(
        tmp_path / "a.json",
        line(1e-4),
        line(2e-4, target="llvm -keys=cpu -mcpu=skylake-avx512"),
        line(3e-5, target="cuda -keys=cuda,gpu -model=v100"),
    )
    done = write_rows(read_logs(log).records, tmp_path)
    assert done.by_device == {"log-core-avx2-8x": 1, "log-skylake-avx512-8x": 1, "nvidia-v100": 1} and done.kernels == 1
    data = read_rows(tmp_path / FILE)
    cores = {data.sessions[r.x].device.name: r.c for r in data.alone}
    assert cores == {"log-core-avx2-8x": 8, "log-skylake-avx512-8x": 8, "nvidia-v100": 0}


def test_the_caller_may_know_the_device(tmp_path: Path) -> None:
    log = write(tmp_path / "a.json", line(1e-4), line(1e-4, target="cuda"))
    host = Device.host_cpu()
    done = write_rows(read_logs(log).records, tmp_path, device=host, weight=0.5)
    assert done.by_device == {host.name: 1} and "a record of a gpu target cannot be" in done.as_text()
    data = read_rows(tmp_path / FILE)
    assert data.alone[0].weight == 0.5 and data.alone[0].c == host.units
    assert {s.processor for s in data.sessions.values()} == {processor()}
    for weight in (0.0, 1.5):
        with pytest.raises(LogError, match="expected more than 0 and at most 1"):
            write_rows([], tmp_path, weight=weight)


def test_a_model_learns_from_logs_when_asked_and_its_card_says_so(tmp_path: Path) -> None:
    made.write(tmp_path / "profile.jsonl", made.rows())
    lines = [line(1e-4, key=["matmul_add", 8 * n, 8, 8, "float32"]) for n in range(1, 9)]
    write_rows(read_logs(write(tmp_path / "a.json", *lines)).records, tmp_path)
    # One device was measured on; the logs do not make it ambiguous, nor are they used unasked.
    plain = train(tmp_path, rounds=10)
    assert plain.device.name == made.DEVICE.name and plain.card.alone == 320 and not plain.card.others
    both = train(tmp_path, rounds=10, also=["log-core-avx2-8x"])
    assert both.card.others == {"log-core-avx2-8x": 8} and both.card.alone == 328
    assert both.card.scores["kernel"]["learned"].rows == 320
    write_rows(read_logs(tmp_path / "a.json").records, tmp_path / "here.jsonl", device=made.DEVICE)
    assert train(tmp_path, rounds=10).card.sources == {"profile": 320, "ansor": 8}


def test_the_command_line_adds_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "a.json", line(1e-4), "{broken", AUTOTVM)
    assert main(["logs", "rows", str(log), "-o", str(tmp_path / "d")]) == 0
    printed = capsys.readouterr().out
    assert "2 rows of 2 kernels added" in printed and "ansor 1, shapes only 1" in printed
    assert f"(first {log}:2)" in printed and "--also-device log-core-avx2-8x" in printed
    assert main(["logs", "rows", str(log), "-o", str(tmp_path / "e"), "--device", "cpu", "--weight", "0.1"]) == 0
    assert "--also-device" not in capsys.readouterr().out
    assert {r.weight for r in read_rows(tmp_path / "e").alone} == {0.1, 0.05}
    assert main(["logs", "rows", str(log)]) == 2
    assert "-o FOLDER" in capsys.readouterr().err
    assert main(["logs", "rows", str(log), "-o", str(tmp_path / "f"), "--device", "nobody"]) == 2
    assert "no device model named 'nobody'" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "d")]) == 2
    assert "only rows from elsewhere" in capsys.readouterr().err


def test_mutated_logs_give_rows_or_reasons_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(11)
    lines = seeds(tmp_path / "none")
    mutated = []
    for _ in range(300):
        chosen = rng.choice(lines)
        for _ in range(rng.randint(1, 2)):
            value = json.loads(chosen)
            mutated.append(json.dumps(mutate_json(value, rng)) if rng.random() < 0.7 else mutate_text(chosen, rng))
    log = tmp_path / "a.json"
    log.write_bytes("\n".join(line.replace("\n", " ") for line in mutated).encode("utf-8", errors="surrogatepass"))
    logs = read_logs(log)
    assert len(logs.records) > 50
    done = write_rows(logs.records, tmp_path / "d")
    assert done.rows > 10 and done.rows + done.known + sum(r.count for r in done.refused) == done.workloads
    data = read_rows(tmp_path / "d")
    assert len(data.alone) == done.rows and not data.skipped and done.as_text()


def test_shipped_logs_become_rows(shared_dir: Path, tmp_path: Path) -> None:
    logs = read_logs(shared_dir / "ansor")
    done = write_rows(logs.records, tmp_path)
    assert done.rows == 27 and done.by_how == {"ansor": 27}
    assert done.rows + sum(r.count for r in done.refused) == done.workloads
    data = read_rows(tmp_path / FILE)
    assert not data.skipped and all(f.opaque == 0 and f.flops > 0 for f in data.kernels.values())
    gpu = write_rows(logs.records, tmp_path, device=Device.named("nvidia-a100"))
    assert gpu.rows == 25 and {r.c for r in read_rows(tmp_path / FILE).alone} == {0, 8, 18}
