"""The benchmark of CPU kernels: its arguments, its models, and what it says of the worst kernel."""

from __future__ import annotations

import importlib.util

import pytest

from gacer_tvm.bench import kernels
from gacer_tvm.bench.kernel_models import MODELS
from gacer_tvm.bench.kernel_times import Kernel, lost, worst

torch = pytest.importorskip("torch")


def test_without_names_every_model_is_run() -> None:
    assert kernels._arguments([]).models == list(MODELS)
    assert kernels._arguments(["resnet18"]).models == ["resnet18"]


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kernels._arguments(["resnet18", "resnet19"])
    assert "'resnet19'" in capsys.readouterr().err


def test_the_worst_kernel_loses_most_against_the_best_rates() -> None:
    fast = Kernel("fast", "tiled", 1, 10.0, 1000.0, 10.0)
    slow = Kernel("slow", "tiled", 3, 2.0, 100.0, 10.0)
    # As slow in arithmetic, but it streams at the best rate of all.
    stream = Kernel("stream", "tiled", 1, 9.0, 0.0, 9000.0)
    assert lost([fast, slow, stream]) == pytest.approx({"fast": 0.0, "slow": 3.0, "stream": 0.0})
    assert worst([fast, slow, stream]) == "slow: 3 x 2.00 ms, 3.00 lost"
    assert worst([]) == ""


@pytest.mark.skipif(importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="the weights are not installed")
def test_a_model_is_run_beside_onnx_runtime_on_the_same_cores() -> None:
    measured = kernels.measure("ppocr_cls", batch=2, cores=1, repeats=1)
    assert (measured.model, measured.batch, measured.cores) == ("ppocr_cls", 2, 1)
    assert measured.error < 1e-4 and measured.exchange == (0.0, 0.0)
    calls = sum(k.calls for k in measured.kernels)
    assert calls == sum(measured.rules.values()) > 20
    assert all(k.ms > 0 and k.size > 0 for k in measured.kernels)


def test_other_networks_run_and_are_seeded() -> None:
    from gacer_tvm.bench.other_nets import NETS, make

    for name in NETS:
        assert name in MODELS
        module, inputs = make(name, 2)
        with torch.no_grad():
            result = module(*inputs)
        assert result.shape[0] == 2 and bool(torch.isfinite(result).all())
        again, same = make(name, 2)
        with torch.no_grad():
            assert torch.equal(again(*same), result)
