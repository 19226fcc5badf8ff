"""Compiled kernels on disk, so that the next process does not compile them again.

A library is two files: the machine code (a shared object where a C compiler can link one, else LLVM bitcode that is compiled
when it is loaded) and a manifest that says which kernels it holds, for which target and TVM. A library that does not fit
is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .._tvm import tvm
from ..graph.model import LaunchShape
from .counts import COUNTING, Counts
from .request import GENERATION, target_text

if TYPE_CHECKING:
    from .library import Kernel

__all__ = ["KernelStore", "default_folder", "export", "file_hash", "write_beside"]


def default_folder() -> Path:
    """Where kernels are kept: ``$GACER_TVM_CACHE``, else ``gacer_tvm`` in the user's cache folder."""
    given = os.environ.get("GACER_TVM_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gacer_tvm" / "kernels"


def write_beside(path: Path, write: Any) -> None:
    """Call ``write(temporary path)`` in the folder of `path`, then rename: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    try:
        write(Path(name))
        # mkstemp makes files that only the owner reads.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def export(module: Any, path: Path) -> Path:
    """Write a compiled host module beside `path` and rename it; the suffix says how (.so or .bc)."""
    inner = module.mod if hasattr(module, "mod") else module
    if shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        target = path.with_suffix(".so")
        write_beside(target, lambda p: module.export_library(str(p)))
    else:
        target = path.with_suffix(".bc")
        write_beside(target, lambda p: inner.write_to_file(str(p), "bc"))
    return target


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class KernelStore:
    """A folder of compiled kernels.

    Parameters
    ----------
    folder
        Made when the first kernel is stored.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self._loaded: dict[Path, Any] = {}

    def load(self, keys: Iterable[str], target: Any) -> dict[str, tuple[Kernel, Path]]:
        """Load what is stored of `keys`, with the file of each; unreadable libraries are passed over."""
        from .library import Kernel

        wanted = set(keys)
        found: dict[str, tuple[Kernel, Path]] = {}
        if not self.folder.is_dir():
            return found
        for manifest in sorted(self.folder.glob("*.json")):
            if not wanted:
                break
            try:
                held = json.loads(manifest.read_text())
                entries = {k: v for k, v in held["kernels"].items() if k in wanted}
                if not entries or held["tvm"] != tvm.__version__ or held["target"] != target_text(target):
                    continue
                file = manifest.parent / held["file"]
                # Loading a damaged shared object can kill the process: never load what has changed.
                if file not in self._loaded and file_hash(file) != held["sha256"]:
                    continue
                module = self._module(file)
                for key, entry in entries.items():
                    shape = LaunchShape(*entry["launch"]) if entry["launch"] else None
                    failures = tuple((str(a), str(b)) for a, b in entry.get("failures", ()))
                    spaces = tuple((tuple(dims), str(dtype)) for dims, dtype in entry.get("workspaces", ()))
                    known = held.get("counting") == COUNTING and entry.get("counts")
                    counts = msgspec.convert(entry["counts"], Counts) if known else None
                    kernel = Kernel(key, module[entry["symbol"]], entry["rule"], shape, failures, spaces, counts)
                    found[key] = (kernel, file)
                    wanted.discard(key)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
                continue
        return found

    def save(self, module: Any, kernels: Iterable[Kernel], target: Any) -> tuple[Any, Path] | None:
        """Store a compiled module.

        Returns
        -------
        stored
            The stored module, loaded, and its file; None where the folder cannot be written (nothing is lost: the kernels
            are in memory).
        """
        kernels = list(kernels)
        # A name of its own for every file: loading a path that this process has loaded before gives the old library.
        name = f"{hashlib.sha256(''.join(sorted(k.key for k in kernels)).encode()).hexdigest()[:16]}-{uuid.uuid4().hex[:8]}"
        try:
            file = export(module, self.folder / name)
            write_manifest(self.folder / f"{name}.json", file, kernels, target)
            return self._module(file), file
        except (OSError, RuntimeError):
            return None

    def _module(self, path: Path) -> Any:
        if path not in self._loaded:
            self._loaded[path] = tvm.runtime.load_module(str(path))
        return self._loaded[path]


def write_manifest(path: Path, file: Path, kernels: Iterable[Kernel], target: Any) -> None:
    """Write the manifest of a library."""
    held = {
        "generation": GENERATION,
        "counting": COUNTING,
        "tvm": tvm.__version__,
        "target": target_text(target),
        "file": file.name,
        "sha256": file_hash(file),
        "kernels": {
            k.key: {
                "symbol": f"k_{k.key}",
                "rule": k.rule,
                "launch": [k.launch.grid, k.launch.block, k.launch.registers, k.launch.shared_bytes] if k.launch else None,
                "failures": [list(f) for f in k.failures],
                "workspaces": [[list(dims), dtype] for dims, dtype in k.workspaces],
                "counts": list(msgspec.structs.astuple(k.counts)) if k.counts is not None else None,
            }
            for k in kernels
        },
    }
    text = json.dumps(held, indent=1, sort_keys=True)
    write_beside(path, lambda p: p.write_text(text))
