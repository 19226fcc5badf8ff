"""Readers: every format into one record, every bad line counted with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gacer_tvm.errors import LogError
from gacer_tvm.logs import read_logs, reader
from gacer_tvm.logs.reader import read_line
from gacer_tvm.logs.record import AutoTvmConfig, MetaTrace
from gacer_tvm.logs.result import BadRecord
from gacer_tvm.logs.steps import Annotate, AnsorSchedule, Split

from .helpers import ansor_line, record_of

STEPS = [["SP", 2, 0, 1024, [2, 1, 4], 1], ["AN", 2, 3, 2], ["PR", 2, 0, "auto_unroll_max_step$8"]]

AUTOTVM_02 = {
    "input": [
        "cuda -keys=cuda,gpu -model=t4",
        "conv2d_nchw.cuda",
        [
            ["TENSOR", [1, 64, 56, 56], "float32"],
            ["TENSOR", [128, 64, 3, 3], "float32"],
            [2, 2],
            [1, 1, 1, 1],
            [1, 1],
            "float32",
        ],
        {},
    ],
    "config": {
        "index": 7,
        "code_hash": None,
        "entity": [["tile_f", "sp", [-1, 2, 16, 4]], ["tile_rc", "sp", [-1, 8]], ["auto_unroll_max_step", "ot", 512]],
    },
    "result": [[0.0001, 0.0002], 0, 1.5, 1600000000.5],
    "version": 0.2,
    "tvm_version": "0.8.0",
}
AUTOTVM_01 = {
    "i": [
        "llvm -device=arm_cpu -model=rk3399 -target=aarch64-linux-gnu",
        "topi_nn_depthwise_conv2d_nchw",
        [["TENSOR", [1, 32, 28, 28], "float32"], ["TENSOR", [32, 1, 3, 3], "float32"], [1, 1], [1, 1], "float32"],
        {},
        ["depthwise_conv2d_nchw", [1, 32, 28, 28, "float32"]],
        {"i": 3, "t": "direct", "c": None, "e": [["tile_c", "sp", [8, 4]]]},
    ],
    "r": [[0.003], 0, 0.7, 1533135908.2],
    "v": 0.1,
}
TRACE = [[["GetBlock", [], ["conv2d_nchw", "main"], ["b0"]], ["GetLoops", ["b0"], [], ["l1", "l2"]]], [[1, 2]]]
META = [
    0,
    [
        TRACE,
        [0.0005, 0.0007],
        {"kind": "cuda", "tag": "nvidia/geforce-rtx-3070", "arch": "sm_86", "keys": ["cuda", "gpu"]},
        [
            ["TENSOR", "float16", [1, 8, 14, 14]],
            ["TENSOR", "float16", [8, 8, 1, 1]],
            ["TENSOR", "float16", [1, 8, 14, 14]],
        ],
    ],
]


@pytest.mark.parametrize("version", ["v0.1", "v0.2", "v0.3", "v0.5", "v0.6"])
def test_ansor_versions(version: str) -> None:
    """Tasks grew from two fields to six; the record is the same."""
    record = record_of(ansor_line(["matmul_add", 1024, 512, 256, "float32"], STEPS, version=version))
    assert (record.source, record.version, record.op_class) == ("ansor", version, "dense")
    assert [tensor.shape for tensor in record.tensors] == [(1024, 512), (512, 256), (1024, 256)]
    assert record.dtype == "float32"
    assert record.flops == 2 * 1024 * 512 * 256
    assert (record.seconds, record.ok, record.timestamp) == ((0.001,), True, 1600000000.0)
    assert isinstance(record.schedule, AnsorSchedule)
    assert record.schedule.steps[0] == Split(2, 0, 1024, (2, 1, 4), True)
    assert record.schedule.steps[1] == Annotate(2, 3, "vectorize")


def test_ansor_keys_nested_flat_and_bare() -> None:
    """Shapes as nested lists (2022), as one flat list (2021), or only in the steps (2020)."""
    digest = "0" * 32
    shapes = [[1, 56, 56, 64], [3, 3, 64, 128], [1, 1, 1, 128], [1, 28, 28, 128]]
    nested = record_of(ansor_line([digest, *shapes], []))
    flat = record_of(ansor_line([digest, *[extent for shape in shapes for extent in shape]], []))
    for record in (nested, flat):
        assert [list(tensor.shape) for tensor in record.tensors] == shapes
        assert record.op_class == "conv2d"
        assert record.flops == 2 * 28 * 28 * 128 * 3 * 3 * 64
    tiling = [["SP", 2, 0, 128, [1, 8, 4, 2], 1], ["SP", 2, 5, 768, [2, 12, 1, 4], 1], ["SP", 2, 10, 3072, [4, 3], 1]]
    bare = record_of(ansor_line([digest], tiling))
    assert (bare.op_class, bare.flops) == ("dense", 2 * 128 * 768 * 3072)


def test_autotvm_both_formats() -> None:
    """Output shapes are worked out, which AutoTVM did not log."""
    new = record_of(json.dumps(AUTOTVM_02))
    assert (new.source, new.version, new.op_class, new.outputs) == ("autotvm", "0.2", "conv2d", 1)
    assert new.tensors[-1].shape == (1, 128, 28, 28)
    assert new.flops == 2 * 28 * 28 * 128 * 64 * 9
    assert (new.best_seconds, new.target.model, new.target.device) == (0.0001, "t4", "gpu")
    assert isinstance(new.schedule, AutoTvmConfig)
    assert new.schedule.knobs[0] == ("tile_f", "sp", (-1, 2, 16, 4))
    old = record_of(json.dumps(AUTOTVM_01))
    assert (old.version, old.op_class, old.target.model) == ("0.1", "depthwise_conv2d", "rk3399")
    assert old.tensors[-1].shape == (1, 32, 28, 28)
    assert old.flops == 2 * 28 * 28 * 32 * 9


def test_metaschedule_record_and_its_workload(tmp_path: Path) -> None:
    """Hashes come from the file beside; the module itself is not opened for reading."""
    (tmp_path / "database_tuning_record.json").write_text(json.dumps(META) + "\n")
    (tmp_path / "database_workload.json").write_text('["-123456", "AAAA"]\n')
    logs = read_logs(tmp_path)
    (record,) = logs.records
    assert (record.source, record.workload, record.op_class, record.dtype) == (
        "metaschedule",
        "-123456",
        "conv2d",
        "float16",
    )
    assert (record.target.kind, record.target.arch, record.target.model) == ("cuda", "sm_86", "geforce-rtx-3070")
    assert record.median_seconds == pytest.approx(0.0006)
    assert isinstance(record.schedule, MetaTrace)
    assert record.schedule.instructions[0][0] == "GetBlock" and record.schedule.decisions == ((1, 2),)
    assert sum(file.workloads for file in logs.files) == 1


def test_failures_are_records_without_times() -> None:
    """A failed candidate was written as 1e10 seconds, or with an error number, or as null."""
    line = json.loads(ansor_line(["matmul_add", 4, 4, 4, "float32"], []))
    line["r"] = [[1e10], 6, 20.0, 1600000000]
    timeout = record_of(json.dumps(line))
    assert (timeout.ok, timeout.seconds, timeout.error_name) == (False, (), "build timeout")
    meta = json.loads(json.dumps(META))
    meta[1][1] = None
    assert not record_of(json.dumps(meta)).ok
    meta[1][1] = [1e10]
    assert not record_of(json.dumps(meta)).ok


def test_bad_lines_are_counted_by_reason(tmp_path: Path) -> None:
    """One file of every kind of line: what can be read is read."""
    good = ansor_line(["matmul_add", 8, 8, 8, "float32"], STEPS)
    lines = [
        "# a comment",
        "",
        good,
        good[:-20],
        "Traceback (most recent call last):",
        '{"hello": 1}',
        ansor_line(["matmul_add", 8, 8, 8, "float32"], [["XX", 1]]),
        ansor_line(["matmul_add", 8, 8, 8, "float32"], [["SP", 2, 0, 8, [0], 1]]),
        "gAN9cQAoWAEAAABhcQFLAXUu\tgAN9cQAoWAEAAABhcQFLAXUu\tgAN9cQAoWAE=",
        json.dumps(AUTOTVM_02),
        "[" * 5000,
        good[:-20],
    ]
    path = tmp_path / "mixed.log"
    path.write_text("\n".join(lines) + "\n")
    (file,) = read_logs(path).files
    assert [record.source for record in file.records] == ["ansor", "autotvm"]
    assert (file.lines, file.comments) == (12, 2)
    reasons = {bad.reason: (bad.count, bad.first_line) for bad in file.bad}
    assert reasons["not JSON (cut off?)"] == (2, 4)
    assert reasons["not JSON"] == (1, 5)
    assert reasons["JSON, but no tuning record of a known kind"] == (1, 6)
    assert reasons["bad step: unknown step 'XX'"] == (1, 7)
    assert reasons["bad step: a split factor is zero"] == (1, 8)
    assert reasons["a pickled record, which is never opened"] == (1, 9)
    assert sum(bad.count for bad in file.bad) == 8
    assert file.lines == len(file.records) + file.comments + sum(bad.count for bad in file.bad)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    """A compressed file gives a reason; a missing one is an error."""
    path = tmp_path / "log.json"
    path.write_bytes(b"\x1f\x8b\x08\x00" + bytes(range(256)) * 4)
    (file,) = read_logs(path).files
    assert not file.records and file.bad
    with pytest.raises(LogError, match="does not exist"):
        read_logs(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("start", "packer"),
    [(b"\x1f\x8b\x08", "gzip"), (b"\xfd7zXZ\x00", "xz"), (b"BZh9", "bzip2"), (b"PK\x03\x04", "zip")],
)
def test_packed_files_are_named(tmp_path: Path, start: bytes, packer: str) -> None:
    """One reason for the whole file; in a folder it is not passed over in silence."""
    (tmp_path / "log.json.gz").write_bytes(start + b"\n\xff\xfe\n" * 100)
    (tmp_path / "notes.md").write_text("not a log")
    (file,) = read_logs(tmp_path).files
    assert [(bad.reason, bad.count) for bad in file.bad] == [(f"packed with {packer}: unpack it first", 1)]


def test_folders_and_devices(tmp_path: Path) -> None:
    """An empty folder is a mistake; a link that leads in a circle is no log; a device would never end."""
    with pytest.raises(LogError, match="holds no tuning logs"):
        read_logs(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "log.txt").write_text(ansor_line(["matmul_add", 8, 8, 8, "float32"], []) + "\n")
    assert [Path(file.path).name for file in read_logs(tmp_path).files] == ["log.txt"]
    with pytest.raises(LogError, match="is a device"):
        read_logs("/dev/zero")


def test_a_file_that_is_being_written(tmp_path: Path) -> None:
    """The last line is half there; the rest is good."""
    line = ansor_line(["matmul_add", 8, 8, 8, "float32"], [])
    path = tmp_path / "log.json"
    path.write_text(f"{line}\r\n{line}\n{line[: len(line) // 2]}")
    (file,) = read_logs(path).files
    assert (len(file.records), file.lines) == (2, 3)
    assert [(bad.reason, bad.first_line) for bad in file.bad] == [("not JSON (cut off?)", 3)]


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than any record is passed over piece by piece, never read whole; lines are still counted right."""
    monkeypatch.setattr(reader, "_MAX_LINE", 1 << 12)
    line = ansor_line(["matmul_add", 8, 8, 8, "float32"], [])
    path = tmp_path / "log.json"
    path.write_text("[" * (1 << 15) + "\n" + line + "\n")
    (file,) = read_logs(path).files
    assert [record.line for record in file.records] == [2] and file.lines == 2
    assert [(bad.reason, bad.count) for bad in file.bad] == [("a line longer than any record", 1)]


def test_a_line_names_its_fault() -> None:
    """`read_line` raises what the readers count."""
    with pytest.raises(BadRecord, match="impossible error number"):
        read_line(ansor_line(["matmul_add", 8, 8, 8, "float32"], []).replace("[0.001], 0,", "[0.001], -3,"))
    with pytest.raises(BadRecord, match="follows a later step"):
        read_line(ansor_line(["matmul_add", 8, 8, 8, "float32"], [["FSP", 4, 0, 0, 2]]))


def test_samples(shared_dir: Path) -> None:
    """The reference samples, whole."""
    logs = read_logs(shared_dir / "ansor")
    counts = {Path(file.path).name: (len(file.records), len(file.bad)) for file in logs.files}
    assert counts == {
        "tvm_ci_conv2d.json": (1, 0),
        "tvm_ci_matmul.json": (1, 0),
        "tvm_ci_resnet-18-NHWC-B1-cuda.json": (24, 0),
        "tvm_ci_resnet-50-NHWC-B1-llvm.json": (26, 0),
    }
    assert all(record.ok and record.op_class != "unknown" for record in logs.records)
    assert {record.target.arch for record in logs.records} == {"", "sm_86", "core-avx2"}
