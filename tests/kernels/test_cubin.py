"""CUDA source of scheduled kernels compiles to machine code here, without a GPU, and its figures are read right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te

from gacer_tvm.errors import DeviceError
from gacer_tvm.kernels import cubin, rules
from gacer_tvm.kernels.launch_shape import launch_shape, with_device_figures
from gacer_tvm.kernels.target import make_target
from gacer_tvm.kernels.workspace import lift_workspaces, workspace_bytes

COMPILERS = tuple(cubin.compilers())
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="neither nvcc nor NVRTC is here")


def several_kernels(rows: int = 8, columns: int = 64, depth: int = 32) -> Any:
    """y = s - max(s) with s = sum(x): three nests that hand on whole tensors."""
    x = te.placeholder((rows, columns, depth), name="x")
    k = te.reduce_axis((0, depth), name="k")
    s = te.compute((rows, columns), lambda i, j: te.sum(x[i, j, k], axis=k), name="s")
    m = te.reduce_axis((0, columns), name="m")
    t = te.compute((rows,), lambda i: te.max(s[i, m], axis=m), name="t")
    y = te.compute((rows, columns), lambda i, j: s[i, j] - t[i], name="y")
    func = te.create_prim_func([x, y])
    return func.with_attr("global_symbol", "f").with_attr("tirx.noalias", True)


def host_source(func: Any, target: Any) -> str:
    with target:
        return str(tvm.compile(tvm.IRModule({"f": func}), target).mod.inspect_source())


def device_text(func: Any, target: Any) -> str:
    with target:
        return cubin.device_source(tvm.compile(tvm.IRModule({"f": func}), target))


def aligned(array: np.ndarray) -> Any:
    raw = np.zeros(array.nbytes + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    view = raw[skip : skip + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return tvm.runtime.from_dlpack(view)


def test_host_code_allocates_before_lifting_and_not_after() -> None:
    target = make_target("sm_90")
    scheduled = rules.schedule(several_kernels(), target).func
    assert "TVMBackendAllocWorkspace" in host_source(scheduled, target)
    lifted, workspaces = lift_workspaces(scheduled)
    assert "Workspace" not in host_source(lifted, target)
    assert sorted(workspaces) == [((8,), "float32"), ((8, 64), "float32")]
    assert len(lifted.params) == len(scheduled.params) + 2
    # What flows between the GPU kernels is an argument of each of them.
    text = device_text(lifted, target)
    assert len(re.findall(r"__global__.*f_kernel\w*\([^;]*\{", text)) == 3
    assert not re.search(r"\bfloat \w+_ptr\[512\]", text)


def test_lifting_keeps_the_answer() -> None:
    lifted, workspaces = lift_workspaces(several_kernels())
    library = tvm.compile(tvm.IRModule({"f": lifted}), make_target("cpu"))
    x = np.random.default_rng(0).standard_normal((8, 64, 32), np.float32)
    y = aligned(np.zeros((8, 64), np.float32))
    lent = [aligned(np.full(shape, np.nan, dtype)) for shape, dtype in workspaces]
    library["f"](aligned(x), y, *lent)
    s = x.astype(np.float64).sum(2)
    np.testing.assert_allclose(y.numpy(), s - s.max(1, keepdims=True), rtol=1e-4, atol=1e-4)


def test_a_function_without_global_intermediates_is_left_alone() -> None:
    x = te.placeholder((8, 64), name="x")
    func = te.create_prim_func([x, te.compute((8, 64), lambda i, j: x[i, j] * 2.0, name="y")])
    scheduled = rules.schedule(func, make_target("sm_80")).func
    same, workspaces = lift_workspaces(scheduled)
    assert same.same_as(scheduled) and workspaces == ()


def test_workspace_bytes_are_aligned() -> None:
    assert workspace_bytes((((3,), "float32"), ((65,), "float16"))) == 256 + 256
    assert workspace_bytes((((65,), "float32"),), align=64) == 320
    assert workspace_bytes(()) == 0


NVCC_LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k_a_kernel_1' for 'sm_90'
ptxas info    : Function properties for k_a_kernel_1
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
ptxas info    : Compiling entry function 'k_a_kernel' for 'sm_90'
ptxas info    : Function properties for k_a_kernel
    72 bytes stack frame, 40 bytes spill stores, 44 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 72 bytes cumulative stack size, 6912 bytes smem
"""


def test_ptxas_figures_are_read() -> None:
    found = cubin.parse_ptxas(NVCC_LOG)
    assert found["k_a_kernel"] == cubin.KernelResources("k_a_kernel", 255, 6912, 72, 40, 44)
    assert found["k_a_kernel_1"] == cubin.KernelResources("k_a_kernel_1", 12)
    whole = cubin.resources_of(cubin.Cubin(b"", "sm_90", "nvcc", found), "k_a")
    assert whole == cubin.KernelResources("k_a", 255, 6912, 72, 40, 44)
    assert cubin.resources_of(cubin.Cubin(b"", "sm_90", "nvcc", found), "k_b") is None


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_generated_source_compiles(compiler: str, arch: str) -> None:
    target = make_target(arch)
    text = device_text(lift_workspaces(rules.schedule(several_kernels(), target).func)[0], target)
    made = cubin.compile_cuda(text, arch, compiler)
    assert made.data[:4] == b"\x7fELF"
    assert set(made.kernels) == {"f_kernel", "f_kernel_1", "f_kernel_2"}
    assert all(0 < r.registers <= 255 and r.spill_loads == 0 for r in made.kernels.values())


@pytest.mark.skipif("nvrtc" not in COMPILERS, reason="NVRTC is not here")
def test_nvrtc_needs_no_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    target = make_target("sm_90")
    text = device_text(lift_workspaces(rules.schedule(several_kernels(4, 32, 8), target).func)[0], target)
    monkeypatch.setattr(cubin, "include_dirs", lambda: ())
    assert cubin.compile_cuda(text, "sm_90", "nvrtc").data[:4] == b"\x7fELF"


@needs_compiler
def test_shared_memory_and_registers_are_those_of_the_machine_code() -> None:
    target = make_target("sm_90")
    a, b = te.placeholder((64, 96), name="a"), te.placeholder((96, 64), name="b")
    k = te.reduce_axis((0, 96), name="k")
    c = te.compute((64, 64), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    func = te.create_prim_func([a, b, c]).with_attr("global_symbol", "f").with_attr("tirx.noalias", True)
    scheduled = rules.schedule(func, target)
    assert scheduled.rule == "gemm"
    text = device_text(scheduled.func, target)
    shape = launch_shape(scheduled.func)
    before = with_device_figures(shape, text, "f", target)
    real = cubin.compile_cuda(text, "sm_90").kernels["f_kernel"]
    after = with_device_figures(shape, text, "f", target)
    assert before is not None and after is not None
    assert before.shared_bytes == after.shared_bytes == real.shared_bytes > 0
    assert before.registers is None and after.registers == real.registers


@needs_compiler
def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(DeviceError, match=r"cannot compile for sm_35; it knows .*sm_90"):
        cubin.compile_cuda("", "sm_35")
    with pytest.raises(DeviceError, match="nonsense"):
        cubin.compile_cuda('extern "C" __global__ void f() { nonsense; }', "sm_90")
    with pytest.raises(DeviceError, match="gcc"):
        cubin.compile_cuda("", "sm_90", "gcc")


def test_without_any_compiler_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubin, "compilers", dict)
    with pytest.raises(DeviceError, match="pip install"):
        cubin.compile_cuda("", "sm_90")


def test_headers_of_a_wheel_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gacer_tvm.kernels import cuda_headers

    include = tmp_path / "include"
    (include / "cccl" / "cuda" / "std").mkdir(parents=True)
    (include / "cuda_fp16.h").write_text("")
    (include / "cccl" / "cuda" / "std" / "cstdint").write_text("")
    monkeypatch.setenv("CUDA_PATH", str(tmp_path))
    found = cuda_headers.include_dirs()
    assert found[:2] == (include, include / "cccl")
    assert cuda_headers.has_libcudacxx(found[:2]) and not cuda_headers.has_libcudacxx(found[:1])
