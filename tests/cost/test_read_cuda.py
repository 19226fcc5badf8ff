"""Reading a GPU, with a stand-in for the driver; and with the real one where there is one."""

from __future__ import annotations

import pytest

from gacer_tvm.cost import Device
from gacer_tvm.cost.read_cuda import host_gpu
from gacer_tvm.errors import DeviceError


class _Driver:
    def __init__(self, name: str, **attributes: int) -> None:
        self._name = name
        self._attributes = {int(k[1:]): v for k, v in attributes.items()}

    def count(self) -> int:
        return 1

    def name(self, device: int) -> str:
        return self._name

    def attribute(self, device: int, number: int) -> int:
        return self._attributes.get(number, 0)


def test_known_models_keep_their_data_sheet_and_take_what_is_read() -> None:
    # An H200 of which some SMs are not visible, and with a lower clock.
    driver = _Driver("NVIDIA H200", a13=1_755_000, a16=120, a38=62_914_560, a39=2048, a75=9, a81=233_472, a111=1024)
    device = host_gpu(0, driver)
    sheet = Device.named("nvidia-h200")
    assert device.name == "nvidia-h200" and device.units == 120 and device.clock_hz == 1.755e9
    assert device.cache_bytes == 62_914_560
    assert device.peak == sheet.peak and device.bandwidth == sheet.bandwidth
    assert device.limits is not None and device.limits.shared_bytes == 233_472 and device.limits.registers == 65536
    assert device.sources["units"] == "read from the driver" and device.sources["peak"] == sheet.sources["peak"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100"),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100"),
        ("Tesla V100-SXM2-16GB", "nvidia-v100"),
        ("NVIDIA TITAN V", "nvidia-titan-v"),
        ("NVIDIA GeForce GTX 1080 Ti", "nvidia-gtx-1080-ti"),
        ("Quadro P6000", "nvidia-quadro-p6000"),
    ],
)
def test_names_of_drivers_are_known(name: str, model: str) -> None:
    assert host_gpu(0, _Driver(name, a13=1_000_000, a16=10)).name == model


def test_unknown_models_are_computed() -> None:
    # An RTX 4090: 128 SMs of 128 cores at 2.52 GHz make 82.6 TFLOPS; 384 bits at 10.5 GHz (double rate) 1008 GB/s.
    driver = _Driver(
        "NVIDIA GeForce RTX 4090", a13=2_520_000, a16=128, a36=10_501_000, a37=384, a39=1536, a75=8, a76=9, a106=24
    )
    device = host_gpu(0, driver)
    assert device.name == "nvidia-geforce-rtx-4090" and device.kind == "cuda"
    assert device.peak["float32"] == pytest.approx(82.6e12, rel=0.01)
    assert device.bandwidth == pytest.approx(1008e9, rel=0.01)
    assert device.limits is not None and (device.limits.threads, device.limits.blocks) == (1536, 24)


def test_newer_architectures_than_known_are_taken_as_the_newest_known() -> None:
    device = host_gpu(0, _Driver("NVIDIA Z1", a13=1_000_000, a16=10, a75=99))
    assert device.peak["float32"] == 10 * 128 * 2 * 1e9


def test_missing_gpus_are_named() -> None:
    with pytest.raises(DeviceError, match=r"GPU 1: expected 0\.\.0, this machine has 1"):
        host_gpu(1, _Driver("NVIDIA H200"))


def test_this_machine() -> None:
    try:
        device = Device.host_gpu()
    except DeviceError as error:
        assert "CUDA driver" in str(error) or "this machine has 0" in str(error)
        return
    assert device.kind == "cuda" and device.units >= 1 and device.bandwidth > 1e9
