"""The target strings of old logs (``cuda -model=t4 -keys=cuda,gpu``, or the object of a MetaSchedule database), parsed.

Today's TVM takes dictionaries, so nothing here is passed on to it unread: the parts that features and matching need are
picked out, the rest is kept as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["LogTarget", "parse_target", "parse_target_object"]

_GPU_KINDS = {"cuda", "rocm", "opencl", "vulkan", "metal", "nvptx", "webgpu", "sdaccel", "aocl", "aocl_sw_emu"}
_CPU_KINDS = {"llvm", "c", "stackvm"}
_WORD = re.compile(r"-?-?[A-Za-z_][\w\-]*=(?:\"[^\"]*\"|'[^']*'|\S*)|\S+")


@dataclass(frozen=True, slots=True)
class LogTarget:
    """A target as a log told it.

    Attributes
    ----------
    text
        The target as written, at most 500 characters.
    kind
        ``llvm``, ``cuda``, ``opencl`` ...
    device
        ``cpu``, ``gpu`` or ``other``.
    model
        The device's model where the log names it (``t4``, ``snapdragon855``, ``platinum-8124m``), else "".
    arch
        ``sm_86``, or the CPU's ``-mcpu``; else "".
    """

    text: str
    kind: str
    device: str
    model: str = ""
    arch: str = ""


@lru_cache(maxsize=4096)
def parse_target(text: str) -> LogTarget:
    """Parse a target string of TVM 0.6 to 0.19; unknown options are ignored, never refused."""
    words = _WORD.findall(text[:2000])
    kind = words[0] if words and not words[0].startswith("-") else ""
    options: dict[str, str] = {}
    for word in words[1:] if kind else words:
        name, _, value = word.lstrip("-").partition("=")
        options.setdefault(name, value.strip("\"'"))
    return _make(text, kind, options)


def parse_target_object(value: object) -> LogTarget:
    """Parse the target of a MetaSchedule record: a configuration object, or a string in the oldest ones."""
    if isinstance(value, str):
        return parse_target(value)
    if not isinstance(value, dict):
        return LogTarget("", "", "other")
    options = {str(name): item for name, item in value.items() if isinstance(item, str)}
    text = " ".join(f"{name}={options[name]}" for name in ("kind", "tag", "model", "mcpu", "arch") if options.get(name))
    return _make(text, options.get("kind", ""), options)


def _make(text: str, kind: str, options: dict[str, str]) -> LogTarget:
    kind = kind[:40]
    if kind in _GPU_KINDS:
        device = "gpu"
    elif kind in _CPU_KINDS:
        device = "cpu"
    else:
        device = "other"
    if options.get("device") == "vta" or kind == "ext_dev":
        device = "other"
    model = options.get("model", "")
    if model in ("", "unknown"):
        model = options.get("tag", "").removeprefix("nvidia/")
    return LogTarget(text[:500], kind, device, model[:80], (options.get("arch") or options.get("mcpu") or "")[:80])
