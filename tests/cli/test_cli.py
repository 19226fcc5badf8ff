"""The command line, run in this process on real files: exit codes, what it prints, what it leaves."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gacer_tvm import relay
from gacer_tvm.cli import main
from gacer_tvm.relay import testing


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A Relay text file, its parameters, and a second model as JSON-free text."""
    folder = tmp_path_factory.mktemp("models")
    module, params = testing.mlp.get_workload(4)
    (folder / "mlp.relay").write_text(relay.astext(module))
    (folder / "mlp.params").write_bytes(relay.save_params(params))
    module, params = testing.mlp.get_workload(2, image_shape=(1, 8, 8))
    (folder / "small.relay").write_text(relay.astext(module))
    (folder / "small.params").write_bytes(relay.save_params(params))
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("GACER_TVM_CACHE", str(tmp_path_factory.getbasetemp() / "cli-kernels"))


@pytest.fixture
def models(files):
    return [
        f"big={files / 'mlp.relay'}",
        str(files / "small.relay"),
        "--params",
        f"big={files / 'mlp.params'}",
        "--params",
        f"small={files / 'small.params'}",
    ]


def test_build_run_inspect(models, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    assert main(["build", *models, "--schedule", "parallel", "-o", str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert "big" in printed and "small" in printed and str(bundle) in printed

    data = {"data": np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype("float32")}
    np.savez(tmp_path / "big.npz", **data)
    out = tmp_path / "outputs"
    assert main(["run", str(bundle), "--input", f"big={tmp_path / 'big.npz'}", "--random", "-o", str(out)]) == 0
    assert re.search(r"big/\w+: float32\[4, 10\]", capsys.readouterr().out)
    with np.load(out / "big.npz") as held:
        (scores,) = held.values()
    np.testing.assert_allclose(scores.sum(axis=1), np.ones(4), rtol=1e-5)

    assert main(["inspect", str(bundle), "--plan", "--operators"]) == 0
    assert "stream 1" in capsys.readouterr().out


def test_search_saves_a_schedule_that_build_takes(models, tmp_path, capsys):
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert main(["search", *models, "--seconds", "1", "--no-measure", "-o", str(first)]) == 0
    assert main(["build", *models, "--schedule", str(first)]) == 0
    assert main(["search", *models, "--seconds", "1", "--no-measure", "--seed", "1", "-o", str(second)]) == 0
    capsys.readouterr()
    assert main(["inspect", str(first)]) == 0
    assert "big" in capsys.readouterr().out
    assert main(["diff", str(first), str(first)]) == 0
    assert main(["diff", str(first), str(second)]) in (0, 1)


def test_impossible_limits_are_said(models, capsys):
    assert main(["search", *models, "--seconds", "1", "--no-measure", "--slo", "big=0.0000001"]) == 2
    assert "big" in capsys.readouterr().err


def test_inspect_a_model_lists_operators(files, capsys):
    arguments = [str(files / "mlp.relay"), "--params", str(files / "mlp.params"), "--operators"]
    assert main(["inspect", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "GFLOP" in printed and "4 items" in printed


def test_doctor_says_what_is_missing(capsys):
    assert main(["doctor"]) in (0, 1)
    printed = capsys.readouterr().out
    for word in ("TVM", "CUDA", "driver"):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "nowhere.onnx"], ["nowhere"]),
        (["build", "a=x.relay", "a=y.relay"], ["a"]),
        (["run", "nowhere"], ["manifest.json"]),
        (["inspect", "nowhere"], ["nowhere"]),
        (["diff", "nowhere.json", "nowhere.json"], ["nowhere.json"]),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    for word in words:
        assert word in printed


def test_not_an_onnx_file(tmp_path, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    (tmp_path / "fake.onnx").write_bytes(b"certainly no model")
    assert main(["build", str(tmp_path / "fake.onnx")]) == 2
    assert "fake" in capsys.readouterr().err
