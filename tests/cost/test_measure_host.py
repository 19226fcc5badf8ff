"""Measured figures of this machine: plausible, kept, and not trusted where the file is not sound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gacer_tvm.cost import Device
from gacer_tvm.cost import measure_host as module
from gacer_tvm.cost.measure_host import HostFigures, measured_cpu


def test_figures_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Device.host_cpu()
    device = measured_cpu(base, tmp_path)
    # Between a tenth of and not far above what the clock and the vector width allow (turbo clocks are not told).
    assert 0.02 < device.peak["float32"] / base.peak["float32"] < 3
    assert 1e8 < device.bandwidth < 1e12
    assert 0 < device.event_seconds < 0.05
    assert "measured" in device.sources["peak"] and "measured" in device.sources["bandwidth"]
    assert device.name == base.name and device.units == base.units
    monkeypatch.setattr(module, "measure_host", lambda cores: pytest.fail("measured twice"))
    assert measured_cpu(base, tmp_path) == device


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"device": "other"}', json.dumps({"device": "NAME", "clock_hz": 1.0, "figures": {}})],
)
def test_unsound_files_are_measured_anew(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Device.host_cpu()
    path = tmp_path / f"{base.name}.host.json"
    path.write_text(content.replace("NAME", base.name))
    monkeypatch.setattr(module, "measure_host", lambda cores: HostFigures(1e9, 2e9, 3e-6))
    device = measured_cpu(base, tmp_path)
    assert device.peak["float32"] == pytest.approx(1e9) and device.bandwidth == 2e9
    assert device.event_seconds == 3e-6 and device.sync_seconds == 6e-6
    assert json.loads(path.read_text())["figures"]["flops"] == 1e9


def test_figures_that_cannot_be_are_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Device.host_cpu()
    monkeypatch.setattr(module, "measure_host", lambda cores: HostFigures(1e9, 2e9, 3e-6))
    measured_cpu(base, tmp_path)
    path = tmp_path / f"{base.name}.host.json"
    stored = json.loads(path.read_text())
    stored["figures"]["bandwidth"] = -1
    path.write_text(json.dumps(stored))
    assert measured_cpu(base, tmp_path).bandwidth == 2e9


def test_a_folder_that_cannot_be_written_does_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "measure_host", lambda cores: HostFigures(1e9, 2e9, 3e-6))
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert measured_cpu(Device.host_cpu(), blocker / "below").bandwidth == 2e9
