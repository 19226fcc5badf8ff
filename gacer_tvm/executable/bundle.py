"""An executable on disk: kernels, parameters, schedule, graph and a manifest with versions and hashes. No pickle.

    manifest.json    versions, target, device, and the SHA-256 of every other file
    graph.json       tenants, operators, buffers
    schedule.json    the schedule
    parameters.bin   the constants, one after the other
    kernels/         shared objects (or bitcode), one or more

A bundle is written beside its destination and renamed, so a failed save leaves the old one as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .._tvm import tvm
from ..cost import Device
from ..errors import BundleError, GacerError
from ..graph.model import Buffer, MultiTenantGraph, Operator, TenantInfo
from ..kernels.library import Kernel
from ..kernels.store import export, file_hash
from ..kernels.target import make_target
from ..plan import check_plan, lower
from ..schedule import Schedule
from .device import target_device
from .executable import Executable

__all__ = ["load", "save"]

FORMAT = 2


class _GraphFile(msgspec.Struct, forbid_unknown_fields=True):
    fingerprint: str
    tenants: tuple[TenantInfo, ...]
    operators: tuple[Operator, ...]
    buffers: tuple[Buffer, ...]


class _KernelEntry(msgspec.Struct, forbid_unknown_fields=True):
    operator: int
    items: int
    cores: int | None
    key: str
    file: str
    rule: str


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    gacer_tvm: str
    tvm: str
    machine: str
    device: str
    target: dict[str, Any]
    files: dict[str, str]
    constants: dict[int, int]
    kernels: tuple[_KernelEntry, ...]


def save(executable: Executable, folder: str | Path) -> Path:
    """Save an executable.

    Parameters
    ----------
    executable
        What to save.
    folder
        Replaced as a whole if it is a bundle already; refused if it holds something else.

    Raises
    ------
    BundleError
        If the folder holds something else, or cannot be written (a full disk); an old bundle then stays as it was.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "manifest.json").exists())):
        raise BundleError(f"{folder} exists and is no bundle; choose another folder or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise BundleError(f"cannot write beside {folder}: {error}") from error
    try:
        _write(executable, made)
        _replace(made, folder)
    except (OSError, RuntimeError) as error:
        if isinstance(error, GacerError):
            raise
        raise BundleError(f"cannot save to {folder}: {error}; what was there before is unchanged") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _write(executable: Executable, folder: Path) -> None:
    graph, library, plan = executable.graph, executable.library, executable.plan
    (folder / "kernels").mkdir()
    entries: list[_KernelEntry] = []
    files: dict[int, str] = {}
    for operator, items, cores in sorted(plan.kernels, key=lambda at: (*at[:2], at[2] or 0)):
        kernel = library.get(operator, items, cores)
        origin = library.origins[kernel.key]
        if id(origin) not in files:
            base = folder / "kernels" / f"lib{len(files)}"
            if isinstance(origin, Path):
                target = base.with_suffix(origin.suffix)
                shutil.copyfile(origin, target)
            else:
                target = export(origin, base)
            files[id(origin)] = f"kernels/{target.name}"
        entries.append(_KernelEntry(operator, items, cores, kernel.key, files[id(origin)], kernel.rule))
    offsets: dict[int, int] = {}
    with (folder / "parameters.bin").open("wb") as stream:
        for index, value in sorted(graph.constants.items()):
            if graph.buffers[index].root == index:
                offsets[index] = stream.tell()
                stream.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    (folder / "graph.json").write_bytes(
        msgspec.json.encode(_GraphFile(graph.fingerprint, graph.tenants, graph.operators, graph.buffers))
    )
    (folder / "schedule.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan.schedule), indent=1))
    hashes = {str(p.relative_to(folder)): file_hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    from .. import __version__

    manifest = _Manifest(
        FORMAT,
        __version__,
        tvm.__version__,
        platform.machine(),
        executable.device.name,
        json.loads(str(library.target)),
        hashes,
        offsets,
        tuple(entries),
    )
    (folder / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    os.chmod(folder, 0o755)


def _replace(made: Path, folder: Path) -> None:
    """Put `made` in the place of `folder`; the old one is only removed once the new one stands there."""
    if not folder.exists():
        os.rename(made, folder)
        return
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    os.rename(folder, old)
    try:
        os.rename(made, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@dataclass
class _SavedLibrary:
    """The kernels of a bundle, with the face of a `KernelLibrary`; it cannot compile."""

    target: Any
    table: dict[tuple[int, int, int | None], Kernel]
    origins: dict[str, Any]
    compiled: int = 0

    def get(self, operator: int, items: int, cores: int | None = None) -> Kernel:
        found = self.table.get((operator, items, cores))
        if found is None:
            on = "all cores" if cores is None else f"{cores} cores"
            raise BundleError(f"the bundle has no kernel of operator {operator} for {items} items on {on}; build it anew")
        return found

    def ensure(self, wanted: Any) -> int:
        for at in wanted:
            self.get(*at)
        return 0

    def kernels(self) -> dict[str, Kernel]:
        return {k.key: k for k in self.table.values()}


def load(folder: str | Path) -> Executable:
    """Load a saved executable.

    Raises
    ------
    BundleError
        If a file is missing, changed or unreadable, or if the bundle was made for another TVM, machine or device; the message
        says what was expected and what was found.
    """
    folder = Path(folder)
    manifest = _read(folder / "manifest.json", _Manifest)
    if manifest.format != FORMAT:
        raise BundleError(f"{folder}: format {manifest.format}, expected {FORMAT}; build and save it anew")
    if manifest.tvm != tvm.__version__:
        raise BundleError(f"{folder}: made with TVM {manifest.tvm}, found {tvm.__version__}; build and save it anew")
    if manifest.machine != platform.machine():
        raise BundleError(f"{folder}: made on {manifest.machine}, this machine is {platform.machine()}")
    for name, expected in manifest.files.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise BundleError(f"{folder}: the manifest names {name!r}, outside the bundle")
        if not path.is_file():
            raise BundleError(f"{folder}: {name} is missing; the bundle is incomplete, save it anew")
        found = file_hash(path)
        if found != expected:
            raise BundleError(f"{folder}: {name} has changed (SHA-256 {found[:12]}…, expected {expected[:12]}…)")
    held = _read(folder / "graph.json", _GraphFile)
    schedule = _read(folder / "schedule.json", Schedule)
    target = make_target(manifest.target)
    device = _device(manifest, target, folder)
    graph = MultiTenantGraph(
        held.tenants, held.operators, held.buffers, held.fingerprint, None, _constants(folder, held, manifest)
    )
    try:
        modules: dict[str, Any] = {e.file: None for e in manifest.kernels}
        for file in modules:
            if file not in manifest.files:
                raise BundleError(f"{folder}: the manifest names the kernels {file!r} without a hash")
            modules[file] = tvm.runtime.load_module(str(folder / file))
        table = {
            (e.operator, e.items, e.cores): Kernel(e.key, modules[e.file][f"k_{e.key}"], e.rule) for e in manifest.kernels
        }
    except (AttributeError, KeyError, RuntimeError, OSError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder}: the kernels cannot be loaded: {error}") from error
    library: Any = _SavedLibrary(target, table, {e.key: folder / e.file for e in manifest.kernels})
    plan = lower(schedule, graph, device=device.name)
    check_plan(plan, graph)
    library.ensure(plan.kernels)
    return Executable(graph, library, plan, device)


def _read(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise BundleError(f"{path.parent}: cannot read {path.name}: {error.strerror or error}; is it a bundle?") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path.parent}: {path.name} is malformed: {error}") from error


def _device(manifest: _Manifest, target: Any, folder: Path) -> Device:
    if target.kind.name == "llvm":
        here = Device.host_cpu()
        if here.name != manifest.device:
            raise BundleError(f"{folder}: made for device {manifest.device!r}, this machine is {here.name!r}; build it here")
        return here
    with contextlib.suppress(GacerError):
        return Device.named(manifest.device)
    return target_device(target)


def _constants(folder: Path, held: _GraphFile, manifest: _Manifest) -> dict[int, Any]:
    data = np.fromfile(folder / "parameters.bin", np.uint8)
    constants: dict[int, Any] = {}
    for buffer in held.buffers:
        if buffer.kind != "constant":
            continue
        offset = manifest.constants.get(buffer.root)
        if offset is None or offset + buffer.nbytes > len(data):
            raise BundleError(f"{folder}: parameters.bin holds nothing for {buffer.name}")
        part = data[offset : offset + buffer.nbytes]
        try:
            constants[buffer.index] = part.view(np.dtype(buffer.dtype)).reshape(buffer.shape)
        except TypeError:  # a dtype that NumPy lacks keeps its bytes
            constants[buffer.index] = part
    return constants
