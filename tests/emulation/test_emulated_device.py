"""The CUDA runtime for real, on a device that is not: TVM's CUDA runtime, cuda.core and generated kernels, no stand-ins.

The emulated driver has to be found before anything loads CUDA, so all of it happens in processes of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import emulator

pytestmark = [
    pytest.mark.skipif(bool(emulator.why_not()), reason=emulator.why_not() or "-"),
    pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda.core is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]
# What a GPU machine may lack; the package and the suite must do without.
BLOCKED = ("torchvision", "onnx", "onnxruntime", "onnxslim", "matplotlib", "PIL", "ortools", "hypothesis", "pytest")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the emulated driver and compiler are found."""
    folder = tmp_path_factory.mktemp("emulated")
    emulator.build_driver(folder)
    nvcc = folder / "nvcc"
    nvcc.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {ROOT / "tests" / "emulation" / "nvcc.py"} "$@"\n')
    nvcc.chmod(0o755)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("CUDA", "PYTEST"))},
        "PATH": f"{folder}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":"),
        "TVM_CUDA_COMPILE_MODE": "nvcc",
        "GACER_TVM_CACHE": str(folder / "cache"),
        "EMULATED_CUDA_LOG": str(folder / "log"),
    }


def test_sessions_on_the_emulated_device(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/emulation/on_device.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
    calls = Path(environment["EMULATED_CUDA_LOG"]).read_text().splitlines()
    # Captured thread by thread; nothing was called that a capture forbids, nor anything that the emulation lacks.
    assert {line.split(" mode ")[1] for line in calls if line.startswith("begin capture")} == {"1"}
    assert not [line for line in calls if line.startswith(("refused", "missing")) or "unjoined" in line]


def test_the_suite_runs_with_what_a_bare_gpu_machine_has(environment: dict[str, str], tmp_path: Path) -> None:
    """In one command, unattended, with real units as processes: the doctor and correctness of the rehearsal."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Hiding(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        return None if name.partition('.')[0] in {BLOCKED!r} else super().find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]\n"
    )
    place = {**environment, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gacer_tvm.bench.gpu", "--out", str(out), "--minutes", "10", "--rehearse"]
    done = subprocess.run(
        [*command, "--only", "correct/float32"], cwd=tmp_path, env=place, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + (out / "units.log").read_text()[-3000:]
    lines = [json.loads(text) for text in (out / "results.jsonl").read_text().splitlines()]
    ends = {line["unit"]: line["status"] for line in lines if line["kind"] == "end"}
    assert ends == {"doctor": "done", "correct/float32/small": "done"}
    right = [line for line in lines if line["kind"] == "correct"]
    assert len(right) == 6 and all(line["ok"] and line["error"] < 1e-4 for line in right)
    assert "6 of 6 schedules right" in done.stdout
    hidden = subprocess.run([sys.executable, "-c", "import torchvision"], env=place, capture_output=True, text=True, check=False)
    assert "No module named 'torchvision'" in hidden.stderr
    # Every module of the suite loads without them.
    names = sorted(f"gacer_tvm.bench.{f.stem}" for f in (ROOT / "gacer_tvm" / "bench").glob("gpu*.py"))
    names += ["gacer_tvm.bench.nets", "gacer_tvm.api", "gacer_tvm.cli"]
    script = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", script], env=place, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_our_own_rules_on_the_emulated_device(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/emulation/own_rules.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
