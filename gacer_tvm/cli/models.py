"""Models on the command line: ``name=path`` or ``path``, with shapes and parameters beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import TenantError

__all__ = ["add_model_arguments", "add_record_argument", "add_target_arguments", "read_models"]


def add_model_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the models and what goes with them."""
    parser.add_argument(
        "models",
        nargs="+" if required else "*",
        metavar="[NAME=]FILE",
        help="ONNX files (.onnx), Relay text or JSON, or torch.export archives (.pt2)",
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="TENANT:INPUT=1,3,224,224",
        help="static shape of an input (repeatable)",
    )
    parser.add_argument(
        "--params", action="append", default=[], metavar="[TENANT=]FILE", help="parameter file of a Relay module (repeatable)"
    )
    parser.add_argument(
        "--missing-constants",
        choices=("error", "params"),
        default="error",
        help="what to do about Relay text whose constants were not printed",
    )


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the target, the device model and the logs."""
    parser.add_argument("--target", default="cpu", help="cpu, cuda, or a target tag such as nvidia/nvidia-h100")
    parser.add_argument("--device", default=None, help="device model to search for, for example nvidia-h200")
    parser.add_argument("--tuning-logs", action="append", default=None, metavar="PATH", help="tuning records (repeatable)")
    parser.add_argument("--no-cache", action="store_true", help="do not keep compiled kernels between runs")


def add_record_argument(parser: argparse.ArgumentParser) -> None:
    """Add where to keep what is measured."""
    parser.add_argument(
        "--record",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="add what is measured, predictions beside it, to this folder of the device's measurements",
    )


def read_models(models: Sequence[str], shapes: Sequence[str], params: Sequence[str], missing: str = "error") -> dict[str, Any]:
    """Tenants from the command line.

    Raises
    ------
    TenantError
        For a file that is not there, a repeated name, or a shape that names no tenant.
    """
    from ..frontend import Tenant

    files: dict[str, Path] = {}
    for entry in models:
        name, _, path = entry.rpartition("=")
        name = name or Path(path).stem
        if name in files:
            raise TenantError(f"two models are named {name!r}; name them: NAME=FILE")
        if not Path(path).is_file():
            raise TenantError(f"tenant {name!r}: no file {path!r}")
        files[name] = Path(path)
    given: dict[str, dict[str, tuple[int, ...]]] = {}
    for entry in shapes:
        where, _, dims = entry.rpartition("=")
        tenant, colon, tensor = where.partition(":")
        if not colon:
            tenant, tensor = next(iter(files)) if len(files) == 1 else "", where
        try:
            shape = tuple(int(d) for d in dims.split(","))
        except ValueError:
            raise TenantError(f"--shape {entry!r}: expected TENANT:INPUT=1,3,224,224") from None
        if tenant not in files or not tensor:
            raise TenantError(f"--shape {entry!r}: expected TENANT:INPUT=1,3,224,224 with a tenant of {list(files)}")
        given.setdefault(tenant, {})[tensor] = shape
    parameters: dict[str, Path] = {}
    for entry in params:
        name, _, path = entry.rpartition("=")
        name = name or (next(iter(files)) if len(files) == 1 else Path(path).stem)
        if name not in files:
            raise TenantError(f"--params {entry!r}: no model is named {name!r}; the models are {list(files)}")
        if not Path(path).is_file():
            raise TenantError(f"tenant {name!r}: no parameter file {path!r}")
        parameters[name] = Path(path)
    tenants = {}
    for name, file in files.items():
        if file.suffix == ".onnx":
            tenants[name] = Tenant.from_onnx(file, given.get(name), name=name)
        elif file.suffix == ".pt2":
            tenants[name] = _torch(file, name)
        else:
            from .. import relay

            module = relay.load(file, missing_constants=missing)
            values = relay.load_params(parameters[name]) if name in parameters else None
            tenants[name] = Tenant.from_relay(module, values, name=name, shapes=given.get(name))
    return tenants


def _torch(file: Path, name: str) -> Any:
    from ..frontend import Tenant

    try:
        import torch
    except ImportError as error:
        raise TenantError(f"tenant {name!r}: reading {file} needs PyTorch: pip install 'gacer-tvm[torch]'") from error
    try:
        program = torch.export.load(str(file))
    except Exception as error:  # torch raises many kinds for a bad archive
        raise TenantError(f"tenant {name!r}: {file} is no torch.export archive: {error}") from error
    return Tenant.from_torch(program, name=name)
