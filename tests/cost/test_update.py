"""Training again: nothing new, something new, something misleading; and what a model says it was trained on."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gacer_tvm.cli import main
from gacer_tvm.cost.assess import kernel_misses, news
from gacer_tvm.cost.learned import LearnedModel, load_model
from gacer_tvm.cost.rows import Alone, Group, Kernel, Row, Session, read_rows
from gacer_tvm.cost.seen import pack, unseen
from gacer_tvm.cost.sources import once
from gacer_tvm.cost.train import train
from gacer_tvm.cost.update import update
from gacer_tvm.errors import LogError

from . import made

ROWS = made.rows()
ALONE = [r for r in ROWS if isinstance(r, Alone)]
QUICK = {"rounds": 60}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LearnedModel:
    return train(made.write(tmp_path_factory.mktemp("first") / "profile.jsonl", ROWS), **QUICK)


@pytest.fixture
def folder(tmp_path: Path, trained: LearnedModel) -> Path:
    made.write(tmp_path / "profile.jsonl", ROWS)
    trained.save(tmp_path / "model.json")
    return tmp_path


def later(slower: float = 1.0, source: str = "build", kernels: int = 20, strange: bool = True) -> list[Row]:
    """A later session of other kernels, `slower` than the rule; `strange` ones gather and exponentiate, as none before."""
    found: list[Row] = [Session("s2", made.DEVICE, "a processor", {}, "2027-01-01T00:00:00+00:00")]
    for n in range(100, 100 + kernels):
        mine = made.facts(n)
        if strange:
            mine = msgspec.structs.replace(mine, gathers=1, slow=mine.points)
        found.append(Kernel(f"{n:016x}", f"late{n % 4}", mine))
        for i in (1, 4):
            seconds = made.true_seconds(mine, i, 1) * slower
            found.append(Alone("s2", f"{n:016x}", i, 1, made.spread(seconds), 3, 0.0, source=source))
    return found


def test_nothing_new_trains_nothing(folder: Path) -> None:
    done = update(folder, folder / "model.json", **QUICK)
    assert done.outcome == "unchanged" and not done.write
    assert "nothing new" in done.as_text()


def test_new_rows_are_learned_after_the_old_model_was_judged_on_them(folder: Path) -> None:
    made.write(folder / "builds.jsonl", later(slower=6.0))
    done = update(folder, folder / "model.json", **QUICK)
    assert done.outcome == "better" and done.write and done.compared is not None
    kernel = done.compared["kernel"]
    assert len(kernel.misses) == 40 and kernel.misses.error > 0.6 and kernel.misses.bias < -0.6
    assert kernel.new < kernel.old
    assert done.model.card.sources == {"profile": 320, "build": 40}
    text = done.as_text()
    assert "40 kernel measurements (40 of kernels not seen before) of late0 (new)" in text
    assert "before learning from them" in text and "profile" in done.model.card.as_text()
    done.model.save(folder / "model.json")
    assert update(folder, folder / "model.json", **QUICK).outcome == "unchanged"


def test_rows_that_make_the_model_worse_are_refused_unless_forced(folder: Path) -> None:
    rng = random.Random(3)
    luck = {r.k: rng.uniform(1e-3, 0.3) for r in ALONE}
    misleading: list[Row] = [Session("s2", made.DEVICE, "p", {}, "2027-01-01T00:00:00+00:00")]
    misleading += [
        msgspec.structs.replace(r, x="s2", s=tuple(v * luck[r.k] for v in r.s), source="build") for r in ALONE
    ]
    made.write(folder / "builds.jsonl", misleading)
    before = (folder / "model.json").read_bytes()
    done = update(folder, folder / "model.json", **QUICK)
    assert done.outcome == "worse" and not done.write and done.model is done.old
    assert "clearly worse" in done.as_text() and "--force" in done.as_text()
    assert main(["train", str(folder), "--update", "--rounds", "60"]) == 1
    assert (folder / "model.json").read_bytes() == before
    forced = update(folder, folder / "model.json", force=True, **QUICK)
    assert forced.outcome == "forced" and forced.write and forced.model is not forced.old


def test_a_damaged_old_model_is_named_and_replaced(folder: Path) -> None:
    (folder / "model.json").write_text('{"format": 1')
    done = update(folder, folder / "model.json", **QUICK)
    assert done.outcome == "first" and done.write
    assert "is no cost model" in done.as_text()


def test_a_model_of_another_device_is_not_updated(folder: Path) -> None:
    with pytest.raises(LogError, match="is of device 'made-up', not 'else'"):
        update(folder, folder / "model.json", device="else", **QUICK)


def test_an_update_refuses_too_little_data_too(tmp_path: Path) -> None:
    made.write(tmp_path / "profile.jsonl", made.rows(kernels=3, models=2, sets=2, groups=3))
    with (tmp_path / "profile.jsonl").open("a") as stream:
        stream.write("not a row\n")
    with pytest.raises(LogError, match=r"too little data.*1 lines skipped as corrupted, the first .*profile.jsonl:"):
        update(tmp_path, tmp_path / "model.json")


def test_second_timings_are_news(folder: Path) -> None:
    halved = [msgspec.structs.replace(r, s=tuple(0.5 * t for t in r.s), again=True) for r in ALONE[:30]]
    made.write(folder / "again.jsonl", [r for r in ROWS if isinstance(r, Session)] + halved)
    found = news(load_model(folder / "model.json"), read_rows(folder))
    assert found and len(found.alone) == 30 and not found.fresh
    assert update(folder, folder / "model.json", force=True, **QUICK).write


def test_models_of_before_digests_have_seen_what_was_begun_before_them(folder: Path, trained: LearnedModel) -> None:
    made.write(folder / "builds.jsonl", later())
    data = read_rows(folder)
    card = msgspec.structs.replace(trained.card, seen="", trained="2026-06-01T00:00:00+00:00")
    old = LearnedModel(trained.device, card, trained.kernel, trained.group)
    assert {r.x for r in news(old, data).alone} == {"s2"} and not news(old, data).groups
    damaged = msgspec.structs.replace(card, seen="AAAA")
    with pytest.raises(LogError, match="train it again"):
        news(LearnedModel(trained.device, damaged, trained.kernel, trained.group), data)


def test_the_update_says_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write(folder / "builds.jsonl", later(slower=6.0))
    old = load_model(folder / "model.json").hash
    assert main(["train", str(folder), "--update", "--rounds", "60", "--evaluate"]) == 0
    assert load_model(folder / "model.json").hash == old
    assert main(["train", str(folder), "--update", "--rounds", "60"]) == 0
    printed = capsys.readouterr().out
    assert "before learning from them" in printed and "saved to" in printed
    assert load_model(folder / "model.json").hash != old
    assert main(["train", str(folder), "--update"]) == 0
    assert "nothing new" in capsys.readouterr().out
    assert main(["train", str(folder), "--force"]) == 2
    assert "--update" in capsys.readouterr().err


def test_what_was_measured_several_times_counts_once() -> None:
    row = ALONE[0]

    def taken(*times: int) -> list[float]:
        found = [msgspec.structs.replace(row, x=f"b{n}", s=(float(n),) * 4, source="build") for n in times]
        return [r.s[0] for r in once(found)]

    # What disturbs only makes longer, and the least of many is luck: the lower quartile.
    assert taken(30, 10, 20) == [10.0] and taken(70, 60, 50, 40, 30, 20, 10) == [20.0]
    twice = [row, msgspec.structs.replace(row, s=tuple(0.5 * t for t in row.s), again=True)]
    assert once(twice) == twice[1:]
    assert len(once([*twice, msgspec.structs.replace(row, source="ansor:a.json:1"), ALONE[1]])) == 3


def test_rows_from_elsewhere_are_learned_from_and_never_judged_on(trained: LearnedModel, tmp_path: Path) -> None:
    nonsense = later(slower=500.0, source="ansor:old.json:7")
    rows = [msgspec.structs.replace(r, weight=0.2) if isinstance(r, Alone) else r for r in nonsense]
    model = train(made.write(tmp_path / "a.jsonl", [*ROWS, *rows]), **QUICK)
    card = model.card
    assert card.sources == {"profile": 320, "ansor": 40}
    assert card.scores["kernel"]["learned"].rows == 320 and card.models == trained.card.models
    assert "40 ansor" in card.as_text() and "own measurements only" in card.as_text()
    data = read_rows(tmp_path)
    foreign = [r for r in data.alone if r.source]
    assert kernel_misses(model, data, foreign).error < kernel_misses(trained, data, foreign).error
    # They do not make up for own measurements that are missing.
    few = made.rows(kernels=10, models=4, sets=3, groups=70)
    with pytest.raises(LogError, match="120 more kernel measurements"):
        train(made.write(tmp_path / "few" / "a.jsonl", [*few, *rows]))


def test_what_others_measured_of_a_held_out_kernel_is_held_out_with_it(tmp_path: Path) -> None:
    # Times that nothing but the kernel itself could tell; "elsewhere" knows them all.
    rng = np.random.default_rng(0)
    luck = {f"{n:016x}": float(np.exp(rng.normal(0, 1.0))) for n in range(40)}
    rows: list[Row] = []
    for row in ROWS:
        if isinstance(row, Alone):
            row = msgspec.structs.replace(row, s=tuple(v * luck[row.k] for v in row.s))
            rows.append(msgspec.structs.replace(row, k="e" + row.k[1:], source="ansor:x:1"))
        elif isinstance(row, Kernel):
            rows.append(Kernel("e" + row.k[1:], "log:x", row.f))
        rows.append(row)
    model = train(made.write(tmp_path / "a.jsonl", rows), rounds=120)
    assert model.card.sources["ansor"] == 320
    assert model.card.scores["kernel"]["learned"].mape > 0.3
    assert model.card.scores["kernel"]["nearest"].mape > 0.3


def test_other_devices_are_learned_from_only_when_asked(tmp_path: Path) -> None:
    other = made.cpu(8)
    theirs = [
        msgspec.structs.replace(r, x="s9") if isinstance(r, Alone) else msgspec.structs.replace(r, x="s9", device=other)
        for r in ROWS
        if isinstance(r, Alone | Session)
    ]
    path = made.write(tmp_path / "a.jsonl", [*ROWS, *theirs])
    plain = train(path, device=made.DEVICE.name, **QUICK)
    assert plain.card.others == {} and plain.card.alone == 320
    both = train(path, device=made.DEVICE.name, also=[other.name], **QUICK)
    assert both.card.others == {other.name: 320} and both.card.scores["kernel"]["learned"].rows == 320
    assert f"320 of {other.name} at less weight" in both.card.as_text()
    both.save(tmp_path / "model.json")
    assert update(path, tmp_path / "model.json", **QUICK).outcome == "unchanged"
    with pytest.raises(LogError, match="no measurements of device 'nowhere'"):
        train(path, device=made.DEVICE.name, also=["nowhere"], **QUICK)


def test_a_folder_of_nothing_but_other_peoples_rows_is_no_training_data(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.jsonl", later(source="autotvm:x.log:1"))
    with pytest.raises(LogError, match="only rows from elsewhere"):
        train(path)


ROW = st.sampled_from([*ALONE, *(r for r in ROWS if isinstance(r, Group))])


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=40), st.lists(ROW, max_size=40), st.randoms())
def test_digests_tell_new_rows_from_known_ones_in_any_order(known: list, others: list, rng: random.Random) -> None:
    mixed = [*known, *others]
    rng.shuffle(mixed)
    assert unseen(mixed, pack(known)) == [r for r in mixed if r not in known] or not known


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_damaged_digests_are_an_error_of_their_own(text: str) -> None:
    with contextlib.suppress(ValueError):
        unseen(ALONE[:3], text)
