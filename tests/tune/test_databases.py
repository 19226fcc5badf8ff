"""Databases of records: damaged ones, what they hold, pruned, merged; all of it from the command line too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gacer_tvm.cli import main
from gacer_tvm.errors import LogError
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.tune.databases import coverage, coverage_of, merge, prune
from gacer_tvm.tune.records import FILES, Records

from .nets import Told, tenants, tuned

RECORDS = FILES[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tuned(folder, 6, Told())
    return folder


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "database"
    folder.mkdir()
    for file in made.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _forget_the_comparison(folder: Path) -> None:
    """As a run leaves a database that was interrupted before records, tilings and defaults were compared."""
    records = Records.open(folder)
    for note in records.kernels.values():
        note.tuned, note.tiling = None, ""
    records.save_notes()


def _count(folder: Path) -> int:
    return len((folder / RECORDS).read_text().splitlines())


def test_a_truncated_last_line_is_cut_off_with_a_notice_and_measured_again(database: Path) -> None:
    path = database / RECORDS
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    result = tuned(database, 6, Told())
    assert result.trials == 1
    assert any(RECORDS in n and "truncated" in n for n in result.notes)
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_line_without_its_end_is_kept(database: Path) -> None:
    path = database / RECORDS
    path.write_bytes(path.read_bytes()[:-1])
    assert tuned(database, 7, Told()).trials == 2
    assert _count(database) == 14


def test_other_damage_is_refused(database: Path) -> None:
    path = database / RECORDS
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]) + "\n")
    with pytest.raises(LogError, match=rf"{RECORDS}, line 2: not JSON"):
        tuned(database, 6, Told())
    path.write_text("{}\n")
    with pytest.raises(LogError, match=rf"{RECORDS}, line 1: not a line of a MetaSchedule database"):
        coverage(database)
    path.write_text(lines[0].replace("[0,", "[7,", 1) + "\n")
    with pytest.raises(LogError, match=r"a kernel that database_workload\.json does not have"):
        coverage(database)
    (database / "kernels.json").write_text("[]")
    path.write_text("")
    with pytest.raises(LogError, match=r"kernels\.json: not the notes"):
        coverage(database)


def test_coverage_tells_what_makes_each_kernel(database: Path) -> None:
    held = coverage(database)
    assert len(held) == 2 and all(c.trials == 6 and c.failed == 0 for c in held)
    _, library, _ = lower_tenants(tenants(), tuning_logs=[database], cache=False)
    found = coverage_of(library, database)
    for line in found:
        assert line.made_by.startswith("tuned") == (line.tuned < line.default)
        assert line.made_by in (f"tuned: {database.name}", f"tuned tiling: {database.name}", "tiled")
    _, library, _ = lower_tenants({"b": tenants()["b"]}, cache=False)
    assert len(coverage_of(library, database)) == 1


def test_records_of_an_interrupted_run_are_not_used_before_they_were_compared(database: Path) -> None:
    _forget_the_comparison(database)
    graph, library, _ = lower_tenants(tenants(), tuning_logs=[database], cache=False)
    assert all(not line.made_by.startswith("tuned") for line in coverage_of(library, database))
    batch = graph.tenants[0].batch
    reasons = [reason for _, reason in library.refused(0, batch)]
    assert len(reasons) == 1 and "interrupted" in reasons[0] and "tune once more" in reasons[0]


def test_pruning_keeps_the_best_and_tuning_does_not_begin_again(database: Path) -> None:
    _forget_the_comparison(database)
    before = Records.open(database)
    lines = (database / RECORDS).read_text().splitlines()
    assert prune(database, 2) == (4, 8)
    after = Records.open(database)
    for key, trials in before.trials.items():
        best = sorted(trials.values())[:2]
        assert sorted(after.trials[key].values()) == best
        assert after.count(key) == 6
    assert set((database / RECORDS).read_text().splitlines()) <= set(lines)
    # A second time there is nothing to drop, and the count stays.
    assert prune(database, 2) == (4, 0) and all(Records.open(database).count(k) == 6 for k in before.trials)
    asked = Told()
    assert tuned(database, 6, asked).trials == 0 and asked.asked == []
    with pytest.raises(LogError, match="at least one"):
        prune(database, 0)


def test_pruning_keeps_what_won_and_the_choice_of_kernels_stays(tmp_path: Path) -> None:
    tuned(tmp_path, 8, Told(), own=4)
    notes = Records.open(tmp_path).kernels
    _, library, _ = lower_tenants(tenants(), tuning_logs=[tmp_path], cache=False)
    made = [(c.name, c.made_by) for c in coverage_of(library, tmp_path)]
    size = sum(len((tmp_path / name).read_bytes()) for name in FILES)
    kept, dropped = prune(tmp_path)
    assert kept + dropped == 16 and kept <= 2
    _, library, _ = lower_tenants(tenants(), tuning_logs=[tmp_path], cache=False)
    assert [(c.name, c.made_by) for c in coverage_of(library, tmp_path)] == made
    after = Records.open(tmp_path)
    assert all(after.count(k) == 8 for k in notes)
    assert sum(len(t) for t in after.trials.values()) == sum(n.pays and not n.tiling for n in notes.values())
    assert sum(len(t) for t in after.tilings.trials.values()) == sum(n.pays and bool(n.tiling) for n in notes.values())
    assert sum(len((tmp_path / name).read_bytes()) for name in FILES) < size / 2
    assert tuned(tmp_path, 8, Told(), own=4).trials == 0


def test_a_truncated_tiling_is_cut_off_and_other_damage_refused(tmp_path: Path) -> None:
    tuned(tmp_path, 4, Told(), own=4)
    path = tmp_path / "tilings.json"
    whole = path.read_text()
    path.write_text(whole[:-30])
    result = tuned(tmp_path, 4, Told(), own=4)
    assert result.trials == 1 and any("tilings.json" in n and "truncated" in n for n in result.notes)
    assert path.read_text() == whole
    path.write_text(whole[:-1])
    assert tuned(tmp_path, 5, Told(), own=5).trials == 2 and len(path.read_text().splitlines()) == 10
    path.write_text("[1]\n" + whole)
    with pytest.raises(LogError, match=r"tilings\.json, line 1: not a trial of a tiling"):
        coverage(tmp_path)


def test_merging_keeps_each_schedule_once(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tuned(other, 8, Told())
    written, repeated = merge([database, other], tmp_path / "both")
    # The same seed: the first 6 trials of each of the 2 kernels are the same.
    assert (written, repeated) == (16, 12)
    both, one = Records.open(tmp_path / "both"), Records.open(other)
    assert both.trials == one.trials
    with pytest.raises(LogError, match="holds a database already"):
        merge([database], tmp_path / "both")


def test_merging_takes_tilings_too(tmp_path: Path) -> None:
    for name, trials in {"few": 3, "more": 5}.items():
        tuned(tmp_path / name, trials, Told(), own=9)
    assert merge([tmp_path / "few", tmp_path / "more"], tmp_path / "both") == (10, 6)
    assert Records.open(tmp_path / "both").tilings.trials == Records.open(tmp_path / "more").tilings.trials


def test_merging_refuses_records_of_another_device(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in database.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    lines = [json.loads(line) for line in (other / RECORDS).read_text().splitlines()]
    for line in lines:
        line[1][2]["mcpu"] = "skylake"
    (other / RECORDS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(LogError, match="one folder a device"):
        merge([database, other], tmp_path / "both")


def test_the_command_line_does_the_same(database: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["tune", "--coverage", "-w", str(database)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    _forget_the_comparison(database)
    assert main(["tune", "--prune", "1", "-w", str(database)]) == 0
    assert capsys.readouterr().out.startswith("2 records kept")
    assert main(["tune", "-w", str(tmp_path / "new"), "--merge", str(database)]) == 0
    assert capsys.readouterr().out.startswith("2 records written")
    assert main(["tune", "--coverage", "-w", str(tmp_path / "nowhere")]) == 2
    assert "no database" in capsys.readouterr().err
    assert main(["tune"]) == 2 and "no model given" in capsys.readouterr().err
    assert main(["tune", "--coverage", "--prune", "1"]) == 2 and "one of them" in capsys.readouterr().err
