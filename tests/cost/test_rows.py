"""Measurement files: what is written is read; what is damaged, foreign or unfinished is skipped and counted."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cost.rows import Alone, Group, Kernel, Noise, Row, Session, Writer, computation, kernel_key, read_rows
from gacer_tvm.errors import LogError

from . import made

ROWS = made.rows(kernels=4, models=2, sets=2, groups=3)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    data = read_rows(made.write(tmp_path / "a.jsonl", ROWS))
    assert data.alone == [r for r in ROWS if isinstance(r, Alone)]
    assert data.groups == [r for r in ROWS if isinstance(r, Group)]
    assert data.noise == [r for r in ROWS if isinstance(r, Noise)]
    assert data.kernels == {r.k: r.f for r in ROWS if isinstance(r, Kernel)}
    assert data.sessions["s1"] == next(r for r in ROWS if isinstance(r, Session))
    assert not data.skipped and not data.unfinished


def test_a_computation_over_another_batch_is_another_kernel_of_the_same_models(tmp_path: Path) -> None:
    class Library:
        def key(self, operator: int, batch: int, cores: int | None) -> str:
            return f"{operator:04x}{'0123456789abcdef'}"

    keys = [kernel_key(Library(), 7, batch) for batch in (1, 4)]
    assert len(set(keys)) == 2 and len({computation(k) for k in keys}) == 1
    rows: list[Row] = [r for r in ROWS if isinstance(r, Session)]
    rows += [Kernel(key, m, made.facts(n)) for n, (key, m) in enumerate([*zip(keys, ("long", "short")), ("else", "third")])]
    data = read_rows(made.write(tmp_path / "a.jsonl", rows))
    assert data.owners[keys[0]] == {"long"}
    assert data.having() == {keys[0]: {"long", "short"}, keys[1]: {"long", "short"}, "else": {"third"}}


def test_lines_are_json_with_short_keys(tmp_path: Path) -> None:
    lines = made.write(tmp_path / "a.jsonl", ROWS).read_text().splitlines()
    assert len(lines) == len(ROWS)
    alone = next(json.loads(line) for line in lines if json.loads(line)["t"] == "a")
    assert set(alone) == {"t", "x", "k", "i", "c", "s", "n", "r"}


def test_bad_lines_are_counted_with_the_place_of_the_first(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.jsonl", ROWS)
    good = path.read_bytes()
    bad = [b'{"t":"a","x":"s1","k":"00', b'{"input": ["llvm"], "result": [[0.1], 0]}', b"\xff\xfe\x00", b"[1, 2]"]
    path.write_bytes(b"\n".join(bad) + b"\n" + good)
    data = read_rows(path)
    assert data.skipped == {"corrupted": 2, "foreign": 2}
    assert (data.first["corrupted"].line, data.first["foreign"].line) == (1, 2)
    assert str(data.first["foreign"]).startswith(f"{path}:2: ")
    assert len(data.alone) == sum(isinstance(r, Alone) for r in ROWS)
    assert f"2 lines skipped as foreign, the first {path}:2" in data.as_text()


@pytest.mark.parametrize(
    "line",
    [
        '{"t":"a","x":"s1","k":"0000000000000000","i":1,"c":1,"s":[0,0,0,0],"n":5,"r":1}',
        '{"t":"a","x":"s1","k":"0000000000000000","i":0,"c":1,"s":[1,1,1,1],"n":5,"r":1}',
        '{"t":"a","x":"s1","k":"0000000000000000","i":1,"c":1,"s":[1e300,1,1,1],"n":5,"r":1}',
        '{"t":"a","x":"s1","k":"0000000000000000","i":1,"c":1,"s":[1,1,1,1],"n":5,"r":1,"weight":-1}',
        '{"t":"g","x":"s1","set":"a","g":[["0000000000000000",1,1,1,1.0,1.0]],"s":[1,1,1,1],"n":5,"r":1}',
    ],
)
def test_senseless_figures_are_corrupted_lines(tmp_path: Path, line: str) -> None:
    path = made.write(tmp_path / "a.jsonl", ROWS)
    with path.open("a") as stream:
        stream.write(line + "\n")
    data = read_rows(path)
    assert data.skipped == {"corrupted": 1} and data.first["corrupted"].line == len(ROWS) + 1


def test_rows_of_unknown_sessions_and_kernels_are_orphans(tmp_path: Path) -> None:
    kept = [r for r in ROWS if not (isinstance(r, Kernel) and r.k == f"{0:016x}")]
    data = read_rows(made.write(tmp_path / "a.jsonl", kept))
    lost = [r for r in ROWS if isinstance(r, Alone) and r.k == f"{0:016x}"]
    assert data.skipped["orphan"] >= len(lost)
    assert not any(r.k == f"{0:016x}" for r in data.alone)
    assert "no facts of kernel" in data.first["orphan"].why
    nobody = read_rows(made.write(tmp_path / "b.jsonl", [r for r in ROWS if not isinstance(r, Session)]))
    assert not nobody.alone and not nobody.groups and "no session" in nobody.first["orphan"].why


def test_sessions_may_stand_in_another_file_of_the_folder(tmp_path: Path) -> None:
    made.write(tmp_path / "b.jsonl", ROWS[:2])
    made.write(tmp_path / "a.jsonl", ROWS[2:])
    assert len(read_rows(tmp_path).alone) == sum(isinstance(r, Alone) for r in ROWS)


def test_an_unfinished_line_is_left_to_its_writer_and_ended_by_the_next(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.jsonl", ROWS)
    whole = len(read_rows(path).alone)
    with path.open("ab") as stream:
        stream.write(b'{"t":"a","x":"s1"')
    data = read_rows(path)
    assert len(data.alone) == whole and data.unfinished == [str(path)] and not data.skipped
    again = next(r for r in ROWS if isinstance(r, Alone))
    made.write(path, [again])
    data = read_rows(path)
    assert len(data.alone) == whole + 1 and data.skipped == {"corrupted": 1} and not data.unfinished


def _append(path: str, count: int) -> None:
    row = next(r for r in ROWS if isinstance(r, Alone))
    with Writer(path) as writer:
        for _ in range(count):
            writer.write(row)


def test_a_file_that_two_processes_write_is_read_all_the_while(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.jsonl", ROWS)
    before = len(read_rows(path).alone)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(str(path), 2000)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not read_rows(path).skipped
    for writer in writers:
        writer.join()
    assert len(read_rows(path).alone) == before + 4000


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 5000))
def test_any_bytes_anywhere_never_stop_the_reader(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    content = made.write(path, ROWS).read_bytes()
    path.write_bytes(content[:place] + noise + content[place:])
    data = read_rows(path)
    kept = len(data.sessions) + len(data.kernels) + len(data.alone) + len(data.groups) + len(data.noise)
    assert kept + sum(data.skipped.values()) <= len(path.read_bytes().split(b"\n"))


def test_a_missing_path_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="gacer-tvm profile"):
        read_rows(tmp_path / "none")
