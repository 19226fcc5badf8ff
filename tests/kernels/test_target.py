"""Every way of naming a target gives a complete one, or an error that says what to write."""

from __future__ import annotations

import pytest
import tvm

from gacer_tvm.cost import Device
from gacer_tvm.errors import DeviceError
from gacer_tvm.kernels.target import cuda_device_arch, is_cuda, make_target

LIMITS = ("max_threads_per_block", "max_shared_memory_per_block", "thread_warp_size", "registers_per_block")


@pytest.mark.parametrize("spec", ["cpu", "llvm", {"kind": "llvm"}, {"kind": "cpu"}])
def test_cpu_names_the_machine(spec: object) -> None:
    target = make_target(spec)
    assert target.kind.name == "llvm" and not is_cuda(target)
    assert target.attrs["mcpu"] == tvm.target.codegen.llvm_get_system_cpu()
    assert target.attrs["mtriple"]


def test_host_device_model_is_this_cpu() -> None:
    assert str(make_target(Device.host_cpu())) == str(make_target("cpu"))


@pytest.mark.parametrize(
    ("spec", "arch"),
    [
        ("nvidia-h200", "sm_90"),
        (Device.named("nvidia-a100"), "sm_80"),
        ("nvidia/nvidia-a100", "sm_80"),
        ({"kind": "cuda", "arch": "sm_90"}, "sm_90"),
        ("sm_86", "sm_86"),
        ("cuda -arch=sm_75 -max_threads_per_block=512", "sm_75"),
        (tvm.target.Target({"kind": "cuda", "arch": "sm_80", "host": "llvm"}), "sm_80"),
    ],
)
def test_cuda_has_arch_limits_and_host(spec: object, arch: str) -> None:
    target = make_target(spec)
    assert is_cuda(target)
    assert target.arch == arch if hasattr(target, "arch") else target.attrs["arch"] == arch
    assert all(int(target.attrs[key]) > 0 for key in LIMITS)
    assert target.host is not None and target.host.kind.name == "llvm"


def test_every_device_model_has_a_target() -> None:
    for name in Device.names():
        assert str(make_target(name).attrs["arch"]).startswith("sm_")


def test_making_twice_changes_nothing() -> None:
    for spec in ("cpu", "nvidia-h200", {"kind": "cuda", "arch": "sm_80", "max_threads_per_block": 512}):
        once = make_target(spec)
        assert str(make_target(once)) == str(once)
    own = make_target({"kind": "cuda", "arch": "sm_80", "max_threads_per_block": 512})
    assert int(own.attrs["max_threads_per_block"]) == 512


@pytest.mark.skipif(cuda_device_arch() is not None, reason="a CUDA device answers for its architecture")
@pytest.mark.parametrize("spec", ["cuda", {"kind": "cuda"}])
def test_cuda_without_arch_or_device_is_an_error(spec: object) -> None:
    with pytest.raises(DeviceError, match=r"architecture is not given.*sm_90"):
        make_target(spec)


@pytest.mark.skipif(cuda_device_arch() is not None, reason="a CUDA device answers for its architecture")
def test_a_target_that_tvm_guessed_is_an_error() -> None:
    with pytest.raises(DeviceError, match="sm_50"):
        make_target(tvm.target.Target("cuda"))


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("nonsense", "nonsense"),
        ("", "empty"),
        ("nvidia/nvidia-h200", "nvidia-h200"),
        ({"kind": "cuda", "arch": "sm_90", "colour": 1}, "colour"),
        ({"kind": "cuda", "arch": "hopper"}, "hopper"),
        ({"kind": "llvm", "mcpu": "nosuchcpu"}, "nosuchcpu"),
        ("cuda arch=sm_90", "arch=sm_90"),
        ("opencl", "opencl"),
        (7, "int"),
    ],
)
def test_bad_targets_say_what_is_wrong(spec: object, what: str) -> None:
    with pytest.raises(DeviceError, match=what):
        make_target(spec)
