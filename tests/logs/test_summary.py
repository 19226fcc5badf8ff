"""What files are said to hold, the rows that a cost model gets, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gacer_tvm.cli.main import main
from gacer_tvm.errors import LogError
from gacer_tvm.logs import load_dictionary, log_rows, read_logs, summarize
from gacer_tvm.logs.replay import Replayed, replay_ansor

from .helpers import ansor_line, cpu, record_of
from .test_reader import AUTOTVM_02, META
from .test_replay import gpu_sketch

PLAIN = [["CA", 2, 4, 1], ["FU", 4, [0, 1]], ["AN", 4, 0, 3]]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file of many kinds of line."""
    failed = json.loads(ansor_line(["matmul_add", 8, 8, 8, "float32"], PLAIN))
    failed["r"] = [[1e10], 7, 20.0, 1600000000]
    lines = [
        "# tuned on a Friday",
        ansor_line(["matmul_add", 8, 8, 8, "float32"], PLAIN),
        json.dumps(failed),
        ansor_line(["matmul_add", 8, 8, 16, "float32"], [["SP", 2, 0, 99, [4], 1]]),
        ansor_line(["something", 1], []),
        json.dumps(AUTOTVM_02),
        json.dumps(META),
        "oops",
    ]
    path = tmp_path / "mixed.log"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_summary_accounts_for_every_line(mixed: Path) -> None:
    """Records, failures, what has a usable schedule, and each thing that has not, with the first place."""
    (file,) = summarize(mixed).files
    assert dict(file.formats) == {"ansor v0.6": 4, "autotvm 0.2": 1, "metaschedule": 1}
    assert (file.records, file.measured, file.lines, file.workloads) == (6, 5, 8, 5)
    assert file.failed == (("run timeout", 1),)
    assert dict(file.schedules) == {"name": 1}
    reasons = {item.reason: (item.count, item.first) for item in file.unusable}
    assert reasons["AutoTVM's templates left TVM: measurements only"] == (1, f"{mixed}:6")
    assert reasons["no computation is known for the registered function 'something'"] == (1, f"{mixed}:5")
    assert reasons["the step splits a loop of 99, here it has 8"] == (1, f"{mixed}:4")
    assert sum(count for count, _ in reasons.values()) + 1 == file.workloads
    assert [(bad.reason, bad.first_line) for bad in file.bad] == [("not JSON", 8)]
    text = summarize(mixed).as_text()
    assert f"first {mixed}:6" in text and "1 run timeout" in text and "not JSON (first line 8)" in text


def test_summary_with_replay_names_the_step(mixed: Path) -> None:
    """Replaying says at which step a schedule stopped."""
    (file,) = summarize(mixed, target=cpu()).files
    assert dict(file.schedules) == {"replayed": 1}
    assert any("at step 0: Split(stage=2" in item.reason for item in file.unusable)


def test_rows_are_in_si_units(mixed: Path) -> None:
    """Work, bytes and seconds of the good records whose arithmetic is known."""
    rows = log_rows(read_logs(mixed).records)
    assert [(row.source, row.op_class, row.flops, row.seconds) for row in rows] == [
        ("ansor", "dense", 2 * 8**3, 0.001),
        ("ansor", "dense", 2 * 8 * 8 * 16, 0.001),
        ("autotvm", "conv2d", 2 * 28 * 28 * 128 * 64 * 9, 0.00015000000000000001),
        ("metaschedule", "conv2d", 2 * 8 * 8 * 14 * 14, pytest.approx(0.0006)),
    ]
    assert rows[0].bytes_moved == 4 * 3 * 64
    assert rows[3].bytes_moved == 2 * (8 * 196 + 64 + 8 * 196)
    assert (rows[2].threads, rows[2].unroll, rows[2].device) == (16, 512, "t4")


def test_rows_of_a_gpu_tiling() -> None:
    """Thread extents from the steps are those of the kernel that they make."""
    line = ansor_line(
        ["matmul_add", 32, 24, 64, "float32"], gpu_sketch(32, 24, 64, [2, 4, 2, 1, 8, 2, 4]), "cuda -arch=sm_80"
    )
    (row,) = log_rows([record_of(line)])
    assert (row.vthreads, row.threads, row.blocks, row.inner_tile) == (2, 32, 2 * 4, 4)
    assert (row.shared_caches, row.unroll, row.arch) == (2, 16, "sm_80")


def test_best_rows_only() -> None:
    """One row a workload and target: the fastest."""
    slow = json.loads(ansor_line(["matmul_add", 8, 8, 8, "float32"], PLAIN))
    slow["r"] = [[0.5], 0, 1.0, 1600000000]
    records = [record_of(json.dumps(slow)), record_of(ansor_line(["matmul_add", 8, 8, 8, "float32"], PLAIN))]
    assert [row.seconds for row in log_rows(records)] == [0.5, 0.001]
    assert [row.seconds for row in log_rows(records, best_only=True)] == [0.001]


def test_a_dictionary_of_ones_own(tmp_path: Path) -> None:
    """A printed computation for a key that nobody else knows."""
    key = ["f" * 32, [6, 4], [6, 4]]
    text = "x = PLACEHOLDER [6, 4]\ntwice(i, j) = (x[i, j]*2f)\nagain(i, j) = (twice[i, j] + 1f)\n"
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({json.dumps(key): {"dag": text}}))
    record = record_of(ansor_line(key, [["CI", 1], ["FU", 2, [0, 1]], ["AN", 2, 0, 3]]))
    outcome = replay_ansor(record, cpu(), dictionary=load_dictionary(path))
    assert isinstance(outcome, Replayed) and outcome.how == "dictionary"
    assert not isinstance(replay_ansor(record, cpu()), Replayed)
    path.write_text('{"key": {"text": 1}}')
    with pytest.raises(LogError, match='no "dag" text'):
        load_dictionary(path)


def test_command_line(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`gacer-tvm logs` and `gacer-tvm logs convert`."""
    assert main(["logs", str(mixed)]) == 0
    assert "4 ansor v0.6" in capsys.readouterr().out
    assert main(["logs", "convert", str(mixed), "-o", str(tmp_path / "db")]) == 0
    printed = capsys.readouterr().out
    assert "1 schedules written" in printed and "read, not replayed" in printed
    assert (tmp_path / "db" / "database_tuning_record.json").is_file()
    assert main(["logs", str(tmp_path / "missing")]) == 2
    assert "does not exist" in capsys.readouterr().err
