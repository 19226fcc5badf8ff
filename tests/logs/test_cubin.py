"""Replayed CUDA kernels go through the CUDA compiler, where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gacer_tvm._tvm import tvm
from gacer_tvm.logs import Replayed, read_logs
from gacer_tvm.logs.replay import replay_ansor

from .helpers import cuda


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("tvm_ci_conv2d.json", 2),
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 2),
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 4),
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 13),
        ("tvm_ci_resnet-18-NHWC-B1-cuda.json", 16),
    ],
)
def test_cubins(shared_dir: Path, name: str, line: int) -> None:
    """Source for sm_80 compiles: threads, shared memory and scopes are those of a real kernel."""
    from tvm.support import nvcc

    (record,) = [item for item in read_logs(shared_dir / "ansor" / name).records if item.line == line]
    outcome = replay_ansor(record, cuda(), verify=False)
    assert isinstance(outcome, Replayed), str(outcome)
    module = tvm.IRModule({"main": outcome.scheduled.with_attr("global_symbol", "main")})
    source = tvm.compile(module, target=cuda()).mod.imports[0].inspect_source()
    arch = ["-gencode", "arch=compute_80,code=sm_80"]
    with cuda():
        cubin = nvcc.compile_cuda(source, target_format="cubin", arch=arch, compiler="nvcc")
    assert bytes(cubin[:4]) == b"\x7fELF"
