"""The report of the machine: every link that CUDA needs is looked at by itself, and what is missing is named."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from gacer_tvm.cli import main
from gacer_tvm.kernels import cubin
from gacer_tvm.runtime import doctor as module
from gacer_tvm.runtime.doctor import doctor, why_no_cuda


class FakeDriver:
    """libcuda with one GPU, by ctypes' conventions."""

    def __init__(self, devices: int = 1, init: int = 0, version: int = 13000) -> None:
        self.devices, self.init, self.version = devices, init, version

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self.devices
        return 0

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = self.version
        return 0

    def cuDeviceGet(self, out: Any, index: int) -> int:
        out._obj.value = index
        return 0

    def cuDeviceGetName(self, out: Any, size: int, handle: Any) -> int:
        out.value = b"NVIDIA H200"
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, handle: Any) -> int:
        out._obj.value = 141 * 2**30
        return 0

    def cuDeviceGetAttribute(self, out: Any, number: int, handle: Any) -> int:
        out._obj.value = {16: 132, 75: 9, 76: 0}[number]
        return 0


def libraries(monkeypatch: pytest.MonkeyPatch, **held: Any) -> None:
    found = {"libcuda.so.1": held.get("cuda"), "libcudart.so.13": held.get("cudart")}
    monkeypatch.setattr(module, "_load", lambda name: found[name])


def finding(name: str) -> Any:
    return next(f for f in doctor(trial=False).findings if f.name == name)


def test_the_chain_is_told_apart_link_by_link(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries(monkeypatch)
    assert "no NVIDIA driver" in why_no_cuda()
    libraries(monkeypatch, cuda=FakeDriver(init=100))
    assert "cuInit gives 100" in why_no_cuda()
    libraries(monkeypatch, cuda=FakeDriver(devices=0))
    assert "CUDA_VISIBLE_DEVICES" in why_no_cuda()
    libraries(monkeypatch, cuda=FakeDriver())
    assert "libcudart.so.13" in why_no_cuda()
    libraries(monkeypatch, cuda=FakeDriver(), cudart=ctypes.CDLL(None))
    monkeypatch.setattr(module.tvm.runtime, "enabled", lambda name: False)
    assert "not loaded although" in why_no_cuda()


def test_a_device_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries(monkeypatch, cuda=FakeDriver())
    assert finding("device 0").found == "NVIDIA H200, compute capability 9.0, 132 SMs, 141 GiB"
    assert finding("driver").problem == ""
    libraries(monkeypatch, cuda=FakeDriver(version=12040))
    assert finding("driver").found == "CUDA 12.4" and "update the driver" in finding("driver").problem


def test_settings_that_cost_concurrency_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    monkeypatch.setenv("TVM_BIND_THREADS", "1")
    assert "set it to 32" in finding("CUDA_DEVICE_MAX_CONNECTIONS").problem
    assert "core 0" in finding("TVM_BIND_THREADS").problem
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    monkeypatch.setenv("TVM_BIND_THREADS", "0")
    assert not finding("CUDA_DEVICE_MAX_CONNECTIONS").problem and not finding("TVM_BIND_THREADS").problem


def test_missing_compilers_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubin, "compilers", dict)
    assert "pip install" in finding("compiler").problem


@pytest.mark.skipif(not cubin.compilers(), reason="neither nvcc nor NVRTC is here")
def test_compilers_are_tried() -> None:
    report = {f.name: f for f in doctor().findings}
    for name in cubin.compilers():
        assert "compiles for sm_" in report[name].found or report[name].problem


def test_report_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    health = doctor(trial=False)
    text = health.as_text()
    assert all(f.name in text and f.found in text and f.problem in text for f in health.findings)
    assert text.splitlines()[-1].startswith("CUDA: ready" if health.cuda else "CUDA: not usable here: ")
    assert main(["doctor", "--fast"]) == 0
    assert "apache-tvm-ffi" in capsys.readouterr().out
    assert main(["doctor", "--fast", "--need-cuda"]) == (0 if health.cuda else 1)
