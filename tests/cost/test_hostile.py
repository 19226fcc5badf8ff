"""Damage of every sort in data and models: skipped and counted, or refused with words, and never more."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cli import main
from gacer_tvm.cost.learned import find_model
from gacer_tvm.cost.predicted import LearnedCost
from gacer_tvm.cost.rows import Planned, Session, Writer, encode, read_rows
from gacer_tvm.cost.train import train
from gacer_tvm.errors import LogError
from gacer_tvm.graph.synthetic import random_graph

from . import made

ROWS = made.rows()
SMALL = made.rows(kernels=4, models=2, sets=2, groups=3)
SESSION = json.loads(encode(next(r for r in ROWS if isinstance(r, Session))))


def session(**changes: object) -> str:
    return json.dumps({**SESSION, "x": "s9", "device": {**SESSION["device"], **changes}})


KERNEL = '{"t":"k","k":"bad","m":"a","f":[%s]}'
HOSTILE = {
    "no cores": session(units=0),
    "endless cores": session(units=1 << 40),
    "no clock": session(clock_hz=0.0),
    "no bandwidth": session(bandwidth=-1.0),
    "no peaks": session(peak={}),
    "a peak of nothing": session(peak={"float32": 0.0}),
    "negative cache": session(cache_bytes=-5),
    "a GPU without limits": session(kind="cuda"),
    "no batch": KERNEL % "0,1,1.0,1.0,1.0,1.0,4,1",
    "negative work": KERNEL % "1,1,-1.0,1.0,1.0,1.0,4,1",
    "elements of nothing": KERNEL % "1,1,1.0,1.0,1.0,1.0,0,1",
    "more work than there is": KERNEL % "1,1,1e300,1.0,1.0,1.0,4,1",
    "items beyond the batch": '{"t":"a","x":"s1","k":"0000000000000000","i":5,"c":1,"s":[1,1,1,1],"n":5,"r":1}',
    "fewer than no cores": '{"t":"a","x":"s1","k":"0000000000000000","i":1,"c":-1,"s":[1,1,1,1],"n":5,"r":1}',
    "a makespan of nothing": '{"t":"p","x":"s1","set":"a","model":"prior","predicted":0,"measured":1}',
    "a makespan of a negative decile": '{"t":"p","x":"s1","set":"a","model":"m","predicted":1,"measured":1,"low":-1}',
    "a deep nest": "[" * 100_000,
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_line_that_would_break_what_comes_later_is_counted(tmp_path: Path, line: str) -> None:
    path = made.write(tmp_path / "a.jsonl", SMALL)
    with path.open("a") as stream:
        stream.write(line + "\n")
    data = read_rows(path)
    assert sum(data.skipped.values()) == 1
    (bad,) = data.first.values()
    assert (bad.file, bad.line) == (str(path), len(SMALL) + 1) and bad.why


def test_a_model_of_damaged_data_is_the_model_of_what_is_left(tmp_path: Path) -> None:
    clean = train(made.write(tmp_path / "clean" / "a.jsonl", ROWS), rounds=20)
    path = made.write(tmp_path / "damaged" / "a.jsonl", ROWS)
    lines = path.read_bytes().splitlines(keepends=True)
    rng = random.Random(0)
    for line in HOSTILE.values():
        lines.insert(rng.randrange(len(lines)), line.encode() + b"\n")
    path.write_bytes(b"".join(lines) + b'{"t":"a","x":"s1"')
    damaged = train(path, rounds=20)
    assert damaged.kernel.trees.to_json() == clean.kernel.trees.to_json() and damaged.card.scores == clean.card.scores
    assert sum(damaged.card.skipped.values()) == len(HOSTILE)
    assert "lines skipped" in damaged.card.as_text()


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(LogError, match="cannot be read"):
        read_rows(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="cannot be written"):
        Writer(tmp_path / "file" / "a.jsonl")
    model = train(made.write(tmp_path / "good" / "a.jsonl", ROWS), rounds=5)
    with pytest.raises(LogError, match="cannot be written"):
        model.save(tmp_path / "file" / "model.json")
    assert main(["train", str(tmp_path / "nowhere")]) == 2
    assert "no measurements at" in capsys.readouterr().err


def test_a_full_disk_is_an_error_and_not_half_a_row() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(LogError, match="cannot be written to /dev/full"), Writer("/dev/full") as writer:
        writer.write(Planned("s1", "a+b", "prior", 1.0, 1.0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return train(made.write(folder / "a.jsonl", ROWS), rounds=5).save(folder / "model.json")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 10**6), noise=st.binary(max_size=30), cut=st.booleans())
def test_a_search_passes_over_a_damaged_model(saved: Path, place: int, noise: bytes, cut: bool, kept: Path) -> None:
    content = saved.read_bytes()
    place %= len(content)
    (kept / "model.json").write_bytes(content[:place] + noise + (b"" if cut else content[place + len(noise) :]))
    model, why = find_model(made.DEVICE, [kept])
    assert model is None or why.endswith("model.json")
    if model is not None:
        graph = random_graph(1, tenants=2, operators=6)
        assert len(LearnedCost(model).estimate(graph, model.device, [(0, 1, 1)]).seconds) == 1


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("device", "units"), 0),
        (("device", "clock_hz"), 0.0),
        (("card", "scores"), {}),
        (("card", "scores", "kernel"), {}),
        (("kernel", "typical"), "x"),
        (("kernel", "low"), [["a"]]),
        (("kernel", "trees"), []),
        (("group",), None),
    ],
)
def test_a_model_with_a_senseless_part_is_refused_in_words(
    saved: Path, tmp_path: Path, where: tuple[str, ...], value: object
) -> None:
    content = json.loads(saved.read_text())
    part = content
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    (tmp_path / "model.json").write_text(made.resealed(content))
    model, why = find_model(made.DEVICE, [tmp_path])
    assert model is None and "model.json" in why
