"""The table of machine-code figures: every kernel of a graph once, with what the assembler says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gacer_tvm._tvm import relax
from gacer_tvm.bench import cubins
from gacer_tvm.errors import DeviceError
from gacer_tvm.executable.build import lower_tenants
from gacer_tvm.kernels import cubin

from .rule_tools import module

needs_compiler = pytest.mark.skipif(not cubin.compilers(), reason="neither nvcc nor NVRTC is here")


@needs_compiler
def test_each_kernel_is_listed_once_with_its_figures() -> None:
    models = {
        "a": module([(8, 64), (64, 96)], lambda x, y: relax.op.nn.relu(relax.op.matmul(x, y))),
        "b": module([(8, 64), (64, 96)], lambda x, y: relax.op.nn.relu(relax.op.matmul(x, y))),
        "c": module([(4, 33)], lambda x: relax.op.tanh(x)),
    }
    _, library, device = lower_tenants(models, "sm_90", cache=False)
    done: set[str] = set()
    lines = cubins.lines_of(library, device, done)
    # Two tenants share a kernel.
    assert len(lines) == 2 == len(done)
    assert cubins.lines_of(library, device, done) == []
    product = next(line for line in lines if "matmul" in line.kernel)
    assert product.rule == "thin" and product.gpu_kernels == 1 and product.spilled == 0
    assert 0 < product.registers <= 255 and product.shared > 0
    # By hand: registers are given out to warps in units of 256, an SM has 65,536 of them and 2048 threads.
    warps = product.block // 32
    by_registers = 65536 // (-(-product.registers * 32 // 256) * 256 * warps)
    by_shared = (228 * 1024) // (product.shared + 1024)
    blocks = min(by_registers, by_shared, 2048 // product.block, 32)
    assert product.occupancy == round(100 * blocks * product.block / 2048)
    text = cubins.table({"set": lines}, ["heading"]).splitlines()
    assert text[0] == "# heading" and text[1].split("\t")[:3] == ["set", "kernel", "rule"] and len(text) == 4


@needs_compiler
def test_a_kernel_that_spills_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _, library, device = lower_tenants({"c": module([(4, 33)], lambda x: relax.op.tanh(x))}, "sm_90", cache=False)
    monkeypatch.setattr(
        cubin,
        "resources_of",
        lambda made, symbol: cubin.KernelResources(symbol, 40, 0, 64, spill_stores=12, spill_loads=8),
    )
    (line,) = cubins.lines_of(library, device, set())
    # One block of 1024 threads: two would need 81,920 registers.
    assert (line.registers, line.stack, line.spilled, line.occupancy) == (40, 64, 20, 50)


@needs_compiler
def test_an_architecture_that_the_compiler_dropped_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cubin, "supported_archs", lambda compiler: ("sm_90",))
    assert cubins.main(["--arch", "sm_70", "--set", "light"]) == 2
    assert "cannot compile for sm_70; it knows sm_90" in capsys.readouterr().out


def test_a_device_without_limits_is_refused(tmp_path: Path) -> None:
    from gacer_tvm.cost import Device

    _, library, _ = lower_tenants({"c": module([(4, 33)], lambda x: relax.op.tanh(x))}, "sm_90", cache=False)
    with pytest.raises(DeviceError, match="no limits"):
        cubins.lines_of(library, Device.host_cpu(), set())
