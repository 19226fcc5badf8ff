"""Bundles: saved and loaded, refused when anything does not match, never half-written."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import gacer_tvm
from gacer_tvm.errors import BundleError, GacerError
from gacer_tvm.executable import bundle as bundle_module


@pytest.fixture(scope="module")
def saved(built, tmp_path_factory):
    return built.save(tmp_path_factory.mktemp("bundles") / "pair")


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_round_trip(built, saved, inputs):
    with gacer_tvm.load(saved) as loaded:
        for name, arrays in loaded.run(inputs).items():
            for found, expected in zip(arrays, built.run(inputs)[name], strict=True):
                np.testing.assert_array_equal(found, expected)
        assert loaded.schedule == built.schedule
        assert loaded.report().arena_bytes == built.report().arena_bytes


def test_a_loaded_bundle_saves_again(saved, tmp_path, inputs):
    with gacer_tvm.load(saved) as loaded:
        second = loaded.save(tmp_path / "again")
        with gacer_tvm.load(second) as again:
            np.testing.assert_array_equal(again.run(inputs)["ranker"][0], loaded.run(inputs)["ranker"][0])


def test_no_pickle_inside(saved):
    for file in saved.rglob("*"):
        if file.is_file():
            assert not file.read_bytes().startswith((b"\x80\x03", b"\x80\x04", b"\x80\x05")), file


def test_every_file_is_guarded(saved, tmp_path):
    names = [str(p.relative_to(saved)) for p in saved.rglob("*") if p.is_file()]
    assert len(names) >= 5
    for number, name in enumerate(names):
        for damage in ("missing", "changed", "truncated"):
            copy = shutil.copytree(saved, tmp_path / f"{number}-{damage}")
            file = copy / name
            data = file.read_bytes()
            if damage == "missing":
                file.unlink()
            elif damage == "changed":
                file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            else:
                file.write_bytes(data[: len(data) // 2])
            with pytest.raises(GacerError):
                gacer_tvm.load(copy)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("tvm", "0.1", "0.1"),
        ("machine", "vax", "vax"),
        ("device", "cpu-77x-mmx", "cpu-77x-mmx"),
        ("format", 99, "99"),
        ("surprise", 1, "surprise"),
    ],
)
def test_what_does_not_match_is_refused(copy, key, value, word):
    file = copy / "manifest.json"
    held = json.loads(file.read_text())
    held[key] = value
    file.write_text(json.dumps(held))
    with pytest.raises(BundleError, match=word):
        gacer_tvm.load(copy)


def test_not_a_bundle(tmp_path):
    with pytest.raises(BundleError, match="is it a bundle"):
        gacer_tvm.load(tmp_path)
    with pytest.raises(BundleError):
        gacer_tvm.load(tmp_path / "nowhere")


def test_a_foreign_folder_is_not_overwritten(built, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(BundleError, match="no bundle"):
        built.save(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_full_disk_leaves_the_old_bundle(built, copy, inputs, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = sorted((p.name, p.stat().st_mtime_ns) for p in copy.rglob("*"))
    monkeypatch.setattr(bundle_module, "file_hash", full)
    with pytest.raises(BundleError, match="No space left"):
        built.save(copy)
    monkeypatch.undo()
    assert sorted((p.name, p.stat().st_mtime_ns) for p in copy.rglob("*")) == before
    assert [p.name for p in copy.parent.iterdir()] == [copy.name], "nothing is left beside it"
    with gacer_tvm.load(copy) as loaded:
        assert loaded.run(inputs)


def test_saving_replaces_a_bundle_as_a_whole(built, copy, inputs):
    (copy / "kernels" / "stray").write_text("old")
    built.save(copy)
    assert not (copy / "kernels" / "stray").exists()
    with gacer_tvm.load(copy) as loaded:
        assert loaded.run(inputs)
