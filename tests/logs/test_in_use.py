"""Logs given to `build`: what is taken, what is not, and what the report says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gacer_tvm
from gacer_tvm import relay
from gacer_tvm._tvm import s_tir, tvm
from gacer_tvm.cli.main import main
from gacer_tvm.errors import LogError
from gacer_tvm.kernels.target import make_target
from gacer_tvm.logs import convert, library, read_logs
from gacer_tvm.logs.find import finder

from .lowered import conv2d, dense_relu
from .old_json import old_trace
from .test_library import CONV, bias_relu_record
from .test_metaschedule import database, tiled

# The weights are inputs, so that nothing repacks them.
MODEL = """
#[version = "0.0.5"]
def @main(%data: Tensor[(1, 8, 8, 16), float32], %weight: Tensor[(3, 3, 16, 32), float32],
          %bias: Tensor[(1, 1, 1, 32), float32], %left: Tensor[(8, 32), float32]) {
  %0 = nn.conv2d(%data, %weight, padding=[1, 1, 1, 1], channels=32, kernel_size=[3, 3],
                 data_layout="NHWC", kernel_layout="HWIO");
  %1 = nn.relu(add(%0, %bias));
  %2 = nn.softmax(%left);
  (%1, %2)
}
"""


@pytest.fixture
def ansor(tmp_path: Path) -> Path:
    """A log of one convolution."""
    path = tmp_path / "old" / "ansor.json"
    path.parent.mkdir()
    path.write_text("# a comment\n" + bias_relu_record() + "\n")
    return path


def faster(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """What the clock says of the default and the logged kernel: the machine is not what is tested."""
    monkeypatch.setattr(library, "time_functions", lambda functions, target: seconds)


def build(logs: Any) -> Any:
    """The model under these logs."""
    return gacer_tvm.build(
        {"net": relay.parse(MODEL)}, target="cpu", schedule="sequential", cache=False, tuning_logs=logs
    )


def outputs_of(exe: Any) -> list[np.ndarray]:
    """On fixed inputs."""
    rng = np.random.default_rng(3)
    shapes = {"data": CONV[0], "weight": CONV[1], "bias": (1, 1, 1, 32), "left": (8, 32)}
    inputs = {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    return exe.run({"net": inputs})["net"]


def test_the_report_says_where_each_schedule_came_from(ansor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record by file and line, everything else by its rule; the answer is the one without logs."""
    faster(monkeypatch, [2e-3, 1e-3])
    exe, plain = build([ansor]), build(None)
    origins = {kernel.operator: kernel for kernel in exe.report().kernels}
    made = [kernel for kernel in origins.values() if kernel.recorded]
    assert len(made) == 1 and "conv2d" in made[0].operator
    assert made[0].rule == f"ansor log {ansor}:2 (hash)"
    assert all(kernel.rule for kernel in origins.values())
    text = str(exe.report())
    assert f"kernels from tuning records: 1 of {len(origins)}" in text
    assert f"  {made[0].operator}, 1 items: ansor log {ansor}:2 (hash)" in text
    assert not any(kernel.recorded for kernel in plain.report().kernels)
    for mine, other in zip(outputs_of(exe), outputs_of(plain), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_a_record_slower_than_the_rules_is_reported(ansor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the best of its search on its own device; here the rules are faster."""
    faster(monkeypatch, [1e-3, 2e-3])
    report = build([ansor]).report()
    assert not any(kernel.recorded for kernel in report.kernels)
    refused = [item for kernel in report.kernels for item in kernel.refused]
    assert refused == [(f"ansor log {ansor}:2", "its kernel takes 2000 us here, the default schedule 1000 us")]
    assert "tuning records that were not used: 1" in str(report)


def test_logs_and_databases_together(ansor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Ansor log, a MetaSchedule database from before 0.20 and one of today, in one list."""
    faster(monkeypatch, [2e-3, 1e-3])
    old = tmp_path / "old_database"
    old.mkdir()
    database(old, dense_relu(), old_trace(tiled(dense_relu(), "matmul")))
    target = make_target("cpu")
    done = convert(read_logs(ansor).records, tmp_path / "mine", target, functions=[conv2d((2, 8, 8, 16))])
    assert done.written == ()
    done = convert(read_logs(ansor).records, tmp_path / "mine", target)
    assert len(done.written) == 1
    from gacer_tvm.tune.provider import providers

    found = [provider for provider in providers([ansor, tmp_path / "mine", old])]
    sources = {
        name: [given[1] for provider in found if (given := provider(function, target)) is not None]
        for name, function in (("convolution", conv2d()), ("product", dense_relu()))
    }
    assert sources == {
        "convolution": ["tuned: mine", f"ansor log {ansor}:2 (hash)"],
        "product": [f"metaschedule log {old / 'database_tuning_record.json'}:1 (module)"],
    }


def test_chunks_of_a_logged_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of the chunk's own size serves the chunk, which then starts at any item."""
    faster(monkeypatch, [2e-3, 1e-3])
    log = tmp_path / "ansor.json"
    log.write_text(bias_relu_record() + "\n")
    text = MODEL.replace("(1, 8, 8, 16)", "(3, 8, 8, 16)").replace("(8, 32)", "(3, 32)")
    from gacer_tvm.executable.build import lower_tenants

    tenant = gacer_tvm.Tenant.of(relay.parse(text), "net")
    graph, kernels, _ = lower_tenants({"net": tenant}, "cpu", tuning_logs=[log], cache=False)
    (operator,) = [op for op in graph.operators if "conv2d" in op.name]
    scheduled, rule, _ = kernels.scheduled(operator.index, 1)
    assert rule == f"ansor log {log}:1 (hash)" and len(scheduled.params) == 5
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype("float32") for s in ((3, *CONV[0][1:]), CONV[1], (1, 1, 1, 32)))
    torch = pytest.importorskip("torch")
    wanted = torch.conv2d(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(w).permute(3, 2, 0, 1), padding=1)
    wanted = torch.relu(wanted.permute(0, 2, 3, 1) + torch.tensor(b)).numpy()
    call = tvm.compile(tvm.IRModule({"k": scheduled.with_attr("global_symbol", "k")}), target="llvm")["k"]
    result = tvm.runtime.tensor(np.zeros((3, 8, 8, 32), "float32"))
    for item in (2, 0, 1):
        call(*[tvm.runtime.tensor(array) for array in (x, w, b)], result, item)
    np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_converted_by_the_command_line_loads_in_tvm(ansor: Path, tmp_path: Path) -> None:
    """`gacer-tvm logs convert` writes a database that TVM's own class opens and answers from."""
    folder = tmp_path / "tuning_logs" / "mine"
    assert main(["logs", "convert", str(ansor), "-o", str(folder)]) == 0
    ms = s_tir.meta_schedule
    stored = ms.database.JSONDatabase(work_dir=str(folder), allow_missing=False, module_equality="structural")
    assert len(stored) == 1
    module = tvm.IRModule({"main": conv2d().with_attr("global_symbol", "main")})
    record = stored.query_tuning_record(module, make_target("cpu"), "main")
    assert record is not None and [float(second) for second in record.run_secs] == [0.001]
    schedule = stored.query_schedule(module, make_target("cpu"), "main")
    assert "T.parallel" in schedule.mod["main"].script()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"hello\n", "1 x not JSON"), (b"\x1f\x8b\x08\x00\x00", "gzip"), (b"{}\n[]\n", "2 x JSON, but")],
)
def test_a_file_without_records_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """A build is told what it was given; a mistyped path must not pass for a log that happens to match nothing."""
    path = tmp_path / "log.json"
    path.write_bytes(content)
    with pytest.raises(LogError, match=f"holds no records .*{reason}"):
        finder([path])


def test_the_readme_example_runs(shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, then its Python, as printed, on two records of TVM's ResNet-50 log."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    section = readme.split("## Tune with the logs you have")[1].split("\n## ")[0]
    blocks = re.findall(r"```(console|python)\n(.*?)```", section, re.DOTALL)
    commands = [
        line[2:].split("#")[0].split() for kind, text in blocks if kind == "console" for line in text.splitlines()
    ]
    (code,) = [text for kind, text in blocks if kind == "python"]
    monkeypatch.chdir(tmp_path)
    Path("old").mkdir()
    lines = (shared_dir / "ansor" / "tvm_ci_resnet-50-NHWC-B1-llvm.json").read_text().splitlines()
    Path("old/resnet-50.json").write_text("\n".join([lines[10], lines[16]]) + "\n")
    for words in commands:
        assert words[0] == "gacer-tvm"
        expanded = [str(p) for word in words[1:] for p in (sorted(Path().glob(word)) if "*" in word else [word])]
        assert main(expanded) == 0
    space: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), space)
    report = space["exe"].report()
    assert [kernel.rule for kernel in report.kernels if "conv2d" in kernel.operator] == ["tuned: mine"]
    assert json.dumps([kernel.operator for kernel in report.kernels])
