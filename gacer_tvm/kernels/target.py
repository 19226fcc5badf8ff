"""What the user calls a target, as a TVM Target whose architecture, limits and host are known.

TVM itself takes ``"cuda"`` without a device for sm_50, with a warning; kernels for that would be wrong on
every device in use, so here a CUDA target without an architecture is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._tvm import tvm
from ..errors import DeviceError

__all__ = ["TargetLike", "cuda_device_arch", "is_cuda", "make_target"]

# What `make_target` accepts: a name, a dictionary, a tvm Target, or a `gacer_tvm.cost.Device`.
TargetLike = Any

# Architecture of the device models in gacer_tvm.cost (CUDA's list of GPUs by compute capability).
_ARCH = {
    "nvidia-h200": "sm_90",
    "nvidia-h100": "sm_90",
    "nvidia-a100": "sm_80",
    "nvidia-v100": "sm_70",
    "nvidia-titan-v": "sm_70",
    "nvidia-gtx-1080-ti": "sm_61",
    "nvidia-quadro-p6000": "sm_61",
}
# Per block, the same on every architecture from sm_61 on (CUDA programming guide, technical specifications;
# shared memory is the static limit, because TVM's code generator declares shared buffers statically).
# MetaSchedule refuses a target without them, dlight reads them.
_CUDA_LIMITS = {
    "max_num_threads": 1024,
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "registers_per_block": 65536,
    "thread_warp_size": 32,
}
_ARCH_FORM = re.compile(r"sm_\d{2,3}[af]?")
_HOW = (
    'give it, for example target={"kind": "cuda", "arch": "sm_90"}, target="sm_90", target="nvidia/nvidia-h100" or '
    'target="nvidia-h200"'
)
# x86 extensions whose instructions LLVM would use for generated loops.
_VECTOR = ("avx", "fma", "f16c", "bmi", "amx", "vaes", "gfni", "vpclmul", "sha", "sse4")


def make_target(spec: TargetLike) -> tvm.target.Target:
    """A complete TVM Target from what a user gives.

    Parameters
    ----------
    spec
        ``"cpu"`` or ``"llvm"``: this machine's CPU, as LLVM detects it. ``"cuda"``: the GPU of this machine. A
        name with options (``"cuda -arch=sm_90"``), an architecture (``"sm_90"``), a TVM tag
        (``"nvidia/nvidia-h100"``), a device model of ``gacer_tvm.cost`` or its name (``"nvidia-h200"``), a
        dictionary of TVM's target options, or a Target.

    Returns
    -------
    target : tvm.target.Target
        A CPU target has ``mcpu`` and ``mtriple``; a CUDA target has ``arch``, the per-block limits that the
        schedule rules need, and a host.

    Raises
    ------
    DeviceError
        For an unknown name or option, and for a CUDA target whose architecture is not given and cannot be asked
        of a device.
    """
    if isinstance(spec, tvm.target.Target):
        return _from_target(spec)
    if isinstance(spec, Mapping):
        return _complete(dict(spec), repr(dict(spec)))
    name = getattr(spec, "name", spec)
    if not isinstance(name, str):
        raise DeviceError(f"expected a target name, dictionary, tvm Target or Device, found {type(spec).__name__}")
    return _from_name(name.strip(), getattr(spec, "kind", None))


def is_cuda(target: tvm.target.Target) -> bool:
    """Whether kernels of this target run on a CUDA device."""
    return str(target.kind.name) == "cuda"


def cuda_device_arch(index: int = 0) -> str | None:
    """``sm_XY`` of the CUDA device `index` of this machine; None without one."""
    device = tvm.cuda(index)
    if not device.exist:
        return None
    return "sm_" + str(device.compute_version).replace(".", "")


def _from_name(name: str, kind: str | None) -> tvm.target.Target:
    if not name:
        raise DeviceError('expected a target such as "cpu", "cuda" or "nvidia-h200", found an empty name')
    word, *options = name.split()
    if word in _ARCH:
        return _complete({"kind": "cuda", "arch": _ARCH[word], **_options(options)}, name)
    if _ARCH_FORM.fullmatch(word):
        return _complete({"kind": "cuda", "arch": word, **_options(options)}, name)
    if word == "cpu" or kind == "cpu":
        return _complete({"kind": "llvm", **_options(options)}, name)
    if "/" in word:
        try:
            return _from_target(tvm.target.Target(word))
        except (ValueError, RuntimeError) as error:
            near = [t for t in tvm.target.list_tags() if word.split("/")[-1].split("-")[-1] in t]
            hint = f"; near: {', '.join(sorted(near)[:5])}" if near else ""
            raise DeviceError(f"no TVM target tag {word!r}{hint}; or {_HOW}") from error
    return _complete({"kind": word, **_options(options)}, name)


def _options(words: list[str]) -> dict[str, Any]:
    """``-key=value`` words, TVM's old way of writing options."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not equals:
            raise DeviceError(f"expected target options such as -arch=sm_90, found {word!r}")
        if key in ("keys", "mattr", "libs"):
            found[key] = value.split(",")
        else:
            found[key] = int(value) if value.lstrip("-").isdigit() else value
    return found


def _from_target(target: tvm.target.Target) -> tvm.target.Target:
    held = {str(k): _plain(v) for k, v in dict(target.export()).items() if k != "tag" or v}
    if target.host is not None:
        held["host"] = target.host
    if held.get("kind") == "cuda" and held.get("arch") == "sm_50" and cuda_device_arch() != "sm_50":
        raise DeviceError(
            f"the target {target} has no architecture of its own: TVM fills in sm_50 where none is given and no "
            f"device is found; {_HOW}"
        )
    return _complete(held, str(target))


def _plain(value: Any) -> Any:
    """A value of TVM's export as Python has it."""
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    try:
        return [_plain(v) for v in value]
    except TypeError:
        return int(value)


def _complete(config: dict[str, Any], given: str) -> tvm.target.Target:
    if config.get("tag") and "kind" not in config:
        return _from_name(str(config["tag"]), None)
    kind = config.get("kind")
    if kind == "cpu":
        kind = config["kind"] = "llvm"
    if kind == "llvm":
        _complete_cpu(config)
    elif kind == "cuda":
        _complete_cuda(config, given)
    try:
        target = tvm.target.Target(config)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DeviceError(f"TVM does not know the target {given}: {first}") from error
    if str(target.kind.name) not in ("llvm", "cuda", "c"):
        raise DeviceError(f'target {given}: expected "cpu" or a CUDA target, found the kind {target.kind.name!r}')
    return target


def _complete_cpu(config: dict[str, Any]) -> None:
    codegen = tvm.target.codegen
    host_triple = str(codegen.llvm_get_system_triple())
    triple = str(config.setdefault("mtriple", host_triple))
    if "mcpu" in config:
        if not codegen.llvm_is_valid_cpu(str(config["mcpu"]), triple):
            raise DeviceError(
                f"LLVM {codegen.llvm_version_major()} knows no CPU {config['mcpu']!r} for {triple}; leave mcpu out "
                f"to have this machine's detected ({codegen.llvm_get_system_cpu()})"
            )
        return
    if triple.split("-")[0] != host_triple.split("-")[0]:
        return
    config["mcpu"] = str(codegen.llvm_get_system_cpu())
    masked = _masked_features(config["mcpu"], triple)
    if masked and "mattr" not in config:
        config["mattr"] = [f"-{feature}" for feature in masked]


def _masked_features(mcpu: str, triple: str) -> list[str]:
    """Vector extensions that a CPU of this name has and this machine lacks, as hypervisors do it."""
    implied = tvm.target.codegen.llvm_get_cpu_features(
        tvm.target.Target({"kind": "llvm", "mcpu": mcpu, "mtriple": triple})
    )
    present = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    if not present:
        return []
    there = {str(name): bool(value) for name, value in present.items()}
    return sorted(f for f in map(str, implied) if f.startswith(_VECTOR) and there.get(f) is False)


def _complete_cuda(config: dict[str, Any], given: str) -> None:
    if "arch" not in config:
        found = cuda_device_arch()
        if found is None:
            raise DeviceError(
                f"target {given}: the architecture is not given, and this machine has no CUDA device to ask "
                f"(see gacer-tvm doctor); {_HOW}"
            )
        # The architecture only: what is compiled for it where there is no device serves where there is one.
        config["arch"] = found
    if not _ARCH_FORM.fullmatch(str(config["arch"])):
        raise DeviceError(f"target {given}: expected an arch such as sm_90, found {config['arch']!r}")
    for key, value in _CUDA_LIMITS.items():
        config.setdefault(key, value)
    config.setdefault("host", {"kind": "llvm", "mtriple": str(tvm.target.codegen.llvm_get_system_triple())})
