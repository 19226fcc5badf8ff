"""Drift: what was measured after a model was trained, laid beside what it says, in tables and one sentence."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gacer_tvm.cli import main
from gacer_tvm.cost.kinds import kind_text
from gacer_tvm.cost.learned import LearnedModel
from gacer_tvm.cost.rows import Alone, Group, Planned, Row, Session
from gacer_tvm.cost.train import train
from gacer_tvm.errors import LogError
from gacer_tvm.profile.drift import drift
from gacer_tvm.profile.verdict import Evidence, verdict_of

from ..cost import made
from ..cost.test_update import later

ROWS = made.rows()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LearnedModel:
    return train(made.write(tmp_path_factory.mktemp("first") / "profile.jsonl", ROWS), rounds=120)


@pytest.fixture
def folder(tmp_path: Path, trained: LearnedModel) -> Path:
    made.write(tmp_path / "profile.jsonl", ROWS)
    # An error as real models have it, not that of a rule without noise.
    kernel = msgspec.structs.replace(trained.card.scores["kernel"]["learned"], mape=0.2)
    group = msgspec.structs.replace(trained.card.scores["group"]["learned"], mape=0.1)
    scores = {"kernel": {**trained.card.scores["kernel"], "learned": kernel}, "group": {"learned": group}}
    replace(trained, card=msgspec.structs.replace(trained.card, scores=scores)).save(tmp_path / "model.json")
    return tmp_path


def planned(model: LearnedModel, off: float, measured_off: float = 1.0, load: float = 0.5, count: int = 6) -> list[Row]:
    """Sessions that measured makespans, `off` times as long as they were predicted to be."""
    rows: list[Row] = []
    for n in range(count):
        rows.append(Session(f"p{n}", made.DEVICE, "p", {}, f"2027-02-0{n + 1}T00:00:00+00:00"))
        for name, ratio in ((f"learned:{model.hash}", off), ("prior", 9.0), ("measured", measured_off)):
            rows.append(Planned(f"p{n}", "a+b", name, 1000.0, 1000.0 * ratio, 0.0, "parallel", "0", 900.0, 1e4, 9, load))
    return rows


def test_without_news_there_is_nothing_to_tell(folder: Path) -> None:
    found = drift(folder)
    assert found.fine is None and "Nothing was measured since" in found.verdict and f"--record {folder}" in found.verdict
    made.write(folder / "logs.jsonl", later(source="ansor:a.json:1"))
    assert "40 rows from elsewhere are not judged by" in drift(folder).verdict


def test_news_that_the_model_foresaw_are_fine(folder: Path, trained: LearnedModel) -> None:
    made.write(folder / "builds.jsonl", [*later(strange=False), *planned(trained, 1.1)])
    found = drift(folder)
    assert found.fine and found.verdict.startswith("Fine:")
    assert sum(line.rows for line in found.kinds) == 40 and not any(line.wrong for line in found.kinds)
    (line,) = [s for s in found.schedules if s.what.startswith("learned:")]
    assert (line.rows, line.held_out) == (6, 0.2) and line.error == pytest.approx(1 - 1 / 1.1)
    assert line.bias == pytest.approx(1 / 1.1 - 1) and line.note == "load 0.5"


def test_kernels_that_it_is_wrong_about_are_named_by_kind_and_model(folder: Path) -> None:
    made.write(folder / "builds.jsonl", later(slower=5.0))
    found = drift(folder)
    assert found.fine is False and found.verdict.startswith("Wrong: kernel times are off by")
    assert "exp, tanh ..., gathers" in found.verdict and f"gacer-tvm train --update {folder}" in found.verdict
    assert {line.what for line in found.models} == {f"late{n}" for n in range(4)}
    assert found.kinds[0].wrong and found.kinds[0].bias < -0.7
    text = found.as_text()
    assert "WRONG" in text and "held-out error 20.0% a kernel, 10.0% a group" in text


def test_makespans_tell_a_wrong_kernel_model_from_wrong_company(folder: Path, trained: LearnedModel) -> None:
    path = made.write(folder / "builds.jsonl", planned(trained, 2.0))
    alone = drift(folder)
    assert alone.fine is False and "makespans are off by 50% (-50%)" in alone.verdict
    assert "--update" in alone.verdict and "on the spot" not in alone.verdict
    path.unlink()
    made.write(path, planned(trained, 2.0, measured_off=2.0, load=9.0))
    both = drift(folder)
    assert "even with kernels measured on the spot" in both.verdict and "gacer-tvm profile" in both.verdict
    assert "the machine was busy then (load 9.0 on 2 cores)" in both.verdict
    assert [s.what for s in both.sessions if s.what.startswith("measured")][-1].endswith("2027-02-06T00:00:00+00:00")


def test_groups_are_judged_by_set(folder: Path) -> None:
    slow = [msgspec.structs.replace(r, x="s2", set="new", s=tuple(v * 2 for v in r.s)) for r in ROWS if isinstance(r, Group)]
    made.write(folder / "builds.jsonl", [*later(kernels=0), *slow[:20]])
    found = drift(folder)
    (line,) = found.groups
    assert line.what == "new" and line.rows == 20 and line.wrong
    assert found.fine is False and "groups are off by" in found.verdict


def test_a_machine_that_has_changed_is_told_from_a_model_that_is_wrong(folder: Path) -> None:
    again = [msgspec.structs.replace(r, x="s2", s=tuple(v * 3 for v in r.s)) for r in ROWS if isinstance(r, Alone)]
    made.write(folder / "builds.jsonl", [*later(kernels=0), *again])
    found = drift(folder)
    assert found.fine is False and "take 3.00 times as long as they did" in found.verdict
    assert "profile it into a new folder" in found.verdict


def test_few_rows_are_no_proof(folder: Path, trained: LearnedModel) -> None:
    made.write(folder / "builds.jsonl", planned(trained, 3.0, count=2))
    found = drift(folder)
    assert found.fine is None and found.verdict.startswith("Too few rows to tell")
    assert not any(line.wrong for line in found.schedules)


def test_damaged_files_and_models_are_judged_as_far_as_they_go(folder: Path, trained: LearnedModel) -> None:
    path = made.write(folder / "builds.jsonl", [*later(slower=5.0), *planned(trained, 1.0)])
    content = path.read_bytes()
    path.write_bytes(b"\x00\xff\n" + content + b'{"input": 1}\n' + content[: len(content) // 2])
    found = drift(folder)
    assert found.fine is False
    assert f"1 lines skipped as foreign, the first {path}:" in found.as_text() and "unfinished" in found.as_text()
    (folder / "model.json").write_text("{}")
    without = drift(folder)
    assert without.model is None and without.fine is None
    assert "is no cost model" in without.verdict and f"gacer-tvm train {folder}" in without.verdict
    assert without.schedules and not without.kinds
    (folder / "model.json").unlink()
    assert "no model.json beside the data" in drift(folder).verdict


def _append(path: str, rows: list[Row]) -> None:
    for _ in range(20):
        made.write(Path(path), rows)


def test_a_file_that_others_are_writing_is_judged_all_the_while(folder: Path, trained: LearnedModel) -> None:
    rows = [*later(slower=5.0), *planned(trained, 1.0)]
    path = made.write(folder / "builds.jsonl", rows)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(str(path), rows)) for _ in range(2)]
    for writer in writers:
        writer.start()
    judged = 0
    while any(writer.is_alive() for writer in writers) or not judged:
        found = drift(folder)
        judged += 1
        assert found.fine is False and "skipped" not in found.read
    for writer in writers:
        writer.join()
    assert "skipped" not in drift(folder).read


def test_what_cannot_be_asked_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no measurements at"):
        drift(folder / "nowhere")
    with pytest.raises(LogError, match="is no cost model"):
        drift(folder, model=folder / "nowhere.json")
    assert drift(folder, device="made-up").model is not None
    with pytest.raises(LogError, match="no measurements of device 'else'"):
        drift(folder, device="else")


def test_the_command_line_tells_by_its_exit_code(
    folder: Path, trained: LearnedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "--drift", str(folder)]) == 0
    made.write(folder / "builds.jsonl", [*later(slower=5.0), *planned(trained, 1.0)])
    assert main(["logs", "--drift", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "by kind" in printed and "by cost model and set" in printed and printed.strip().splitlines()[-1].startswith("Wrong:")
    moved = (folder / "model.json").rename(folder / "other.json")
    assert main(["logs", "--drift", str(folder), "--model", str(moved)]) == 1
    assert main(["logs", "--drift", str(folder / "nowhere")]) == 2
    assert "no measurements" in capsys.readouterr().err


def test_kinds_are_words() -> None:
    mine = made.facts(0)
    assert kind_text(mine).startswith("1 reduction loop, ")
    assert kind_text(msgspec.structs.replace(mine, reductions=4, slow=1.0)).startswith("3 or more reduction loops, exp")
    assert kind_text(msgspec.structs.replace(mine, reductions=0, flops=0.0)) == "no reduction, 0 to 3 FLOP/byte"


def test_advice_comes_with_the_weightiest_first() -> None:
    evidence = Evidence(
        "data", "cpu", 2, "2027", "", 0.2, 0.1, (50, 0.9, -0.5), (0, 0.0, 0.0), (0, 0.0, 0.0), (0, 0.0, 0.0), 3, ("x",),
        (50, 2.0), 9.0, 0,
    )  # fmt: skip
    fine, text = verdict_of(evidence)
    assert fine is False
    places = [text.index(word) for word in ("measure again when it is quiet", "new folder", "--update")]
    assert places == sorted(places)
