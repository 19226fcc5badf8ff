"""The GPU as it was found: name, driver, clocks, temperature, who else uses it. Nothing is changed."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

__all__ = ["gpu_state"]

_FIELDS = (
    "name",
    "driver_version",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.draw",
    "power.limit",
    "temperature.gpu",
    "utilization.gpu",
    "memory.used",
    "persistence_mode",
    "compute_mode",
    "mig.mode.current",
)


def gpu_state(index: int = 0) -> dict[str, Any]:
    """What nvidia-smi says of a device, field by field; what it does not say is left out."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {"gpu": None}
    found = _ask(tool, index, _FIELDS)
    if found is None:
        # One unknown field makes the whole query fail: ask for each alone.
        found = {}
        for field in _FIELDS:
            found.update(_ask(tool, index, (field,)) or {})
    return {"gpu": found}


def _ask(tool: str, index: int, fields: tuple[str, ...]) -> dict[str, str] | None:
    command = [tool, f"--id={index}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode != 0 or len(values) != len(fields):
        return None
    return dict(zip(fields, values))
