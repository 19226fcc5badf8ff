"""Ten thousand mutated lines: no foreign exception, nothing run from a log."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tvm_ffi

from gacer_tvm.logs.ansor_state import ReplayStop
from gacer_tvm.logs.dag_extents import dag_from_text
from gacer_tvm.logs.dag_text import DagTextError
from gacer_tvm.logs.data_rows import log_rows
from gacer_tvm.logs.identify import identify, shipped_dictionary
from gacer_tvm.logs.meta_replay import replay_meta
from gacer_tvm.logs.old_tir import OldTirError, decode_module, rebuild_function
from gacer_tvm.logs.reader import read_line
from gacer_tvm.logs.record import LogRecord
from gacer_tvm.logs.replay import NotReplayed, Replayed, replay_ansor
from gacer_tvm.logs.result import BadRecord
from gacer_tvm.logs.steps import AnsorSchedule

from .helpers import ansor_line, cpu
from .lowered import dense_relu
from .old_json import OldJson, old_trace
from .test_ansor_state import MATMUL
from .test_metaschedule import database, tiled
from .test_reader import AUTOTVM_01, AUTOTVM_02, META
from .test_replay import gpu_sketch

LINES = 10_000
CPU_STEPS = [
    ["SP", 2, 0, 64, [2, 4, 2], 1],
    ["SP", 2, 4, 48, [3, 2, 2], 1],
    ["SP", 2, 8, 32, [8], 1],
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
HOSTILE = [
    "__import__('os').system('touch /tmp/pwned')",
    "cos\nsystem\n(S'true'\ntR.",
    "-1",
    "\x00",
    "\ud800",
    "9" * 5000,
    "1e999",
    "NaN",
    "\\u0000",
    "{}",
    "[[[[",
    '"',
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    1e308,
    -0.5,
    "",
    "x" * 300,
    [],
    {},
    [[]],
    {"a": 1},
    "None",
]


def seeds(shared: Path) -> list[str]:
    """Lines of every format to start from."""
    lines = [
        ansor_line(["matmul_add", 64, 32, 48, "float32"], CPU_STEPS),
        ansor_line(["matmul_add", 16, 24, 32, "float32"], gpu_sketch(16, 24, 32, [1, 2, 2, 2, 4, 1, 4]), "cuda"),
        ansor_line(["conv2d_layer", 1, 7, 7, 8, 8, 3, 3, [1, 1], [1, 1]], [["CI", 5]]),
        ansor_line(["0" * 32, 1, 56, 56, 64, 3, 3, 64, 64, 1, 56, 56, 64], [["CHW", 3, "local"], ["RF", 3, 5, 1]]),
        json.dumps(AUTOTVM_01),
        json.dumps(AUTOTVM_02),
        json.dumps(META),
        json.dumps(["-123", "AAAA"]),
    ]
    if shared.is_dir():
        for path in sorted((shared / "ansor").glob("*.json")):
            lines += [line for line in path.read_text().splitlines() if line.startswith("{")]
    return lines


def mutate_text(line: str, rng: random.Random) -> str:
    """A few characters cut, doubled, swapped or replaced."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(line) + 1)
        to = min(len(line), at + rng.choice([1, 1, 2, 5, 50]))
        piece = rng.choice(["", line[at:to] * 2, rng.choice(HOSTILE), rng.choice('[]{},:"0123456789-e.')])
        line = line[:at] + piece + line[to:]
    return line


def mutate_json(value: Any, rng: random.Random) -> Any:
    """One node of the structure replaced, removed, doubled or moved."""
    nodes: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        node = pending.pop()
        items = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
        for key, child in list(items):
            nodes.append((node, key))
            pending.append(child)
    for _ in range(rng.randint(1, 3)):
        parent, key = rng.choice(nodes)
        try:
            action = rng.randrange(5)
            if action == 0:
                parent[key] = rng.choice([*VALUES, *HOSTILE])
            elif action == 1:
                del parent[key]
            elif action == 2 and isinstance(parent, list):
                parent.insert(key, parent[key])
            elif action == 3 and type(parent[key]) is int:
                parent[key] += rng.choice([-1, 1, 2, -5, 1000])
            else:
                other, where = rng.choice(nodes)
                parent[key] = json.loads(json.dumps(other[where]))
        except (KeyError, IndexError, TypeError):
            continue
    return value


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would run something out of a log fails the test."""

    def forbidden(*args: Any, **options: Any) -> Any:
        raise AssertionError(f"a log made this run: {args!r}")

    real_eval, real_exec = builtins.eval, builtins.exec

    def only_tracebacks(code: Any, *args: Any) -> Any:
        """TVM makes frames for its own tracebacks by evaluating code objects of its own; nobody else may."""
        caller = sys._getframe(1).f_code
        if caller.co_name == "_create_frame" and caller.co_filename == tvm_ffi.error.__file__:
            return real_eval(code, *args)
        return forbidden(code)

    def only_imports(code: Any, *args: Any, **options: Any) -> Any:
        """Modules that are imported for the first time execute themselves."""
        if sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
            return real_exec(code, *args, **options)
        return forbidden(code)

    monkeypatch.setattr(builtins, "eval", only_tracebacks)
    monkeypatch.setattr(builtins, "exec", only_imports)
    for place, name in (
        (os, "system"),
        (os, "popen"),
        (subprocess, "Popen"),
        (pickle, "loads"),
        (pickle, "load"),
    ):
        monkeypatch.setattr(place, name, forbidden)


def test_mutated_lines(nothing_runs: None) -> None:
    """Every mutated line is a record, a workload line, or a `BadRecord`; records can be used as data and be identified."""
    rng = random.Random(20240601)
    start = seeds(Path(__file__).resolve().parents[2].parent / "shared")
    outcomes = {"record": 0, "bad": 0, "workload": 0, "identified": 0, "stopped": 0}
    for number in range(LINES):
        line = rng.choice(start)
        if number % 2:
            line = mutate_text(line, rng)
        else:
            line = json.dumps(mutate_json(json.loads(line), rng))
        try:
            record = read_line(line, "fuzz", number)
        except BadRecord:
            outcomes["bad"] += 1
            continue
        if record is None:
            outcomes["workload"] += 1
            continue
        outcomes["record"] += 1
        _use(record, outcomes, number)
    # The mutations are of all kinds: neither everything nor nothing survives them.
    assert min(outcomes.values()) > 20, outcomes
    assert sum(outcomes[name] for name in ("record", "bad", "workload")) == LINES


def _use(record: LogRecord, outcomes: dict[str, int], number: int) -> None:
    log_rows([record])
    str(record), record.error_name, record.median_seconds
    if isinstance(record.schedule, AnsorSchedule) and number % 4 == 0:
        try:
            identify(record.workload, record.schedule.steps)
            outcomes["identified"] += 1
        except ReplayStop:
            outcomes["stopped"] += 1


def test_mutated_steps_on_a_schedule(nothing_runs: None) -> None:
    """Steps that pass the reader but make no sense stop the replay, and never raise anything else."""
    rng = random.Random(7)
    replayed = 0
    for _ in range(150):
        steps = mutate_json(json.loads(json.dumps(CPU_STEPS)), rng)
        try:
            record = read_line(ansor_line(["matmul_add", 64, 32, 48, "float32"], steps))
        except BadRecord:
            continue
        assert record is not None
        outcome = replay_ansor(record, cpu(), verify=False)
        assert isinstance(outcome, Replayed | NotReplayed)
        replayed += isinstance(outcome, Replayed)
    assert 0 < replayed < 150
    assert len(MATMUL) == 5


def test_mutated_traces_on_a_schedule(nothing_runs: None, tmp_path: Path) -> None:
    """The same for MetaSchedule's traces: other instructions, other names, other decisions."""
    function = dense_relu()
    database(tmp_path, function, old_trace(tiled(function, "matmul")))
    line = json.loads((tmp_path / "database_tuning_record.json").read_text())
    rng = random.Random(13)
    outcomes = {"replayed": 0, "stopped": 0, "bad": 0}
    for _ in range(250):
        value = json.loads(json.dumps(line))
        value[1][0] = mutate_json(value[1][0], rng)
        try:
            record = read_line(json.dumps(value), database=str(tmp_path / "database_workload.json"), hashes=["42"])
        except BadRecord:
            outcomes["bad"] += 1
            continue
        assert record is not None
        outcome = replay_meta(record, cpu(), verify=False)
        assert isinstance(outcome, Replayed) or outcome.reason
        outcomes["replayed" if isinstance(outcome, Replayed) else "stopped"] += 1
    assert min(outcomes.values()) > 5, outcomes


def test_mutated_texts_and_modules(nothing_runs: None) -> None:
    """Printed computations and saved modules, damaged."""
    rng = random.Random(11)
    texts = [text for text, _ in shipped_dictionary().entries.values()]
    for _ in range(1500):
        with suppress(DagTextError):
            dag_from_text(mutate_text(rng.choice(texts), rng))
    graph = decode_module(OldJson().module(dense_relu()))
    for _ in range(400):
        with suppress(OldTirError):
            rebuild_function(mutate_json(json.loads(json.dumps(graph)), rng))
