"""The profile on the command line, and a build that takes the model made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gacer_tvm import relay
from gacer_tvm.cli import main
from gacer_tvm.cost.learned import load_model
from gacer_tvm.cost.train import train
from gacer_tvm.executable.build import assemble
from gacer_tvm.relay import testing

from ..cost import made
from .conftest import Lowered


def test_profile_and_train_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GACER_TVM_CACHE", str(tmp_path / "kernels"))
    files = []
    for name, size in (("left", 8), ("right", 6)):
        module, params = testing.mlp.get_workload(2, image_shape=(1, size, size))
        (tmp_path / f"{name}.relay").write_text(relay.astext(module))
        (tmp_path / f"{name}.params").write_bytes(relay.save_params(params))
        files += [str(tmp_path / f"{name}.relay"), "--params", f"{name}={tmp_path / name}.params"]
    ordered = [f for f in files if f.endswith(".relay")] + [f for f in files if not f.endswith(".relay")]
    out = tmp_path / "data"
    assert main(["profile", *ordered, "--out", str(out), "--alone", "8", "--groups", "3", "--repeats", "2"]) == 0
    assert "8 kernel and 3 group measurements added" in capsys.readouterr().out
    assert main(["profile", "--out", str(out)]) == 2
    assert main(["train", str(out)]) == 2
    assert "too little data" in capsys.readouterr().err
    made.write(tmp_path / "made" / "profile.jsonl", made.rows())
    assert main(["train", str(tmp_path / "made"), "--rounds", "20", "--evaluate"]) == 0
    assert not (tmp_path / "made" / "model.json").exists()
    assert main(["train", str(tmp_path / "made"), "--rounds", "20"]) == 0
    printed = capsys.readouterr().out
    assert "tenant sets held out whole" in printed and "nearest" in printed
    assert load_model(tmp_path / "made" / "model.json").device.name == made.DEVICE.name


def test_a_build_takes_the_model_that_lies_beside_its_logs_and_says_so(
    lowered: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, library, device = lowered
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"search_seconds": 0.2, "measure_seconds": 0.2}
    with assemble(graph, library, device, "auto", measure=False, **options) as executable:
        assert "cost model: prior; no model.json" in executable.report().as_text()
    model = train(made.write(tmp_path / "profile.jsonl", made.rows(device=device)), rounds=20)
    model.save(tmp_path / "tuning_logs" / device.name / "model.json")
    for measure in (False, True):
        with assemble(graph, library, device, "auto", measure=measure, **options) as executable:
            text = executable.report().as_text()
            assert f"learned:{model.hash}, held-out error" in text and "model.json" in text
            assert f"learned:{model.hash}" in executable.decision.search.cost_model
