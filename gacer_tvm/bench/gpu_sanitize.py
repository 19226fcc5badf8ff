"""NVIDIA's compute-sanitizer over a rehearsal: memory accesses (memcheck) and shared memory (racecheck)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import GacerError
from .gpu_results import Results

__all__ = ["sanitize", "sanitizer"]

_FOUND_ERRORS = 86


def sanitizer() -> str | None:
    """The compute-sanitizer of this machine: on the path, or in the toolkit's usual place."""
    found = shutil.which("compute-sanitizer")
    usual = Path("/usr/local/cuda/bin/compute-sanitizer")
    return found or (str(usual) if usual.is_file() else None)


def sanitize(results: Results, unit: str, tool: str, *, seconds: float, cache: str | None = None) -> None:
    """Run the rehearsal's correctness under one of its tools; PyTorch stays on the host, so that what is found is ours.

    Raises
    ------
    GacerError
        If errors were found, or the run failed.
    """
    path = sanitizer()
    if path is None:
        reason = "compute-sanitizer is neither on the path nor in /usr/local/cuda/bin"
        results.add(unit, "sanitized", tool=tool, ran=False, reason=reason)
        return
    with tempfile.TemporaryDirectory(prefix="gacer_tvm_") as folder:
        command = [
            path, "--tool", tool, "--error-exitcode", str(_FOUND_ERRORS), sys.executable, "-m", "gacer_tvm.bench.gpu",
            "--out", folder, "--unit", "correct/float32/small", "--rehearse", "--torch", "cpu", "--seconds", f"{seconds:.0f}",
            *(["--cache", cache] if cache else []),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            results.add(unit, "sanitized", tool=tool, ran=False, reason=f"not through after {seconds:.0f} s")
            return
        right = sum(1 for line in Results(folder).lines("correct") if line.get("ok"))
    print(done.stdout, flush=True)
    said = [line.strip() for line in done.stdout.splitlines() if line.startswith("=========")]
    last = said[-1].strip("= ") if said else ""
    refused = [line for line in said if "not supported" in line]
    if refused:
        results.add(unit, "sanitized", tool=tool, ran=False, reason=refused[0].strip("= "))
        return
    clean = done.returncode == 0 and right > 0
    found = [] if clean else said[:40]
    results.add(unit, "sanitized", tool=tool, ran=True, clean=clean, schedules=right, summary=last, found=found)
    if not clean:
        raise GacerError(f"compute-sanitizer --tool {tool} ended with {done.returncode}: {last or done.stdout[-300:]}")
