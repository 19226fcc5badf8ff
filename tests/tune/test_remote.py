"""Trials on other machines: a real TVM tracker and two servers, on this machine's loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gacer_tvm
from gacer_tvm._tvm import tvm
from gacer_tvm.errors import DeviceError
from gacer_tvm.tune.measure import Remote
from gacer_tvm.tune.records import FAILED, Records

from .nets import tenants, tuned

# TVM leaves the sockets of its tracker sessions to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
KEY = "gacer-test"


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _servers(port: int) -> int:
    try:
        info = tvm.rpc.connect_tracker("127.0.0.1", port).summary()["server_info"]
    except (RuntimeError, OSError, ConnectionError):
        return -1
    return sum(1 for server in info if server["key"] == f"server:{KEY}")


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    """``host:port`` of a tracker that knows two servers."""
    port = _free_port()
    env = {**os.environ, "TVM_NUM_THREADS": "1", "TVM_BIND_THREADS": "0"}
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        command = [sys.executable, "-m", *words]
        processes.append(
            subprocess.Popen(
                command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
        )

    def wait(wanted: int) -> None:
        last = time.monotonic() + 90
        while _servers(port) < wanted:
            if time.monotonic() > last or any(p.poll() is not None for p in processes):
                pytest.skip("a TVM tracker with two servers does not start on this machine")
            time.sleep(0.3)

    try:
        start("tvm.exec.rpc_tracker", "--host=127.0.0.1", f"--port={port}", f"--port-end={port + 1}")
        wait(0)
        for _ in range(2):
            first = _free_port()
            start(
                "tvm.exec.rpc_server", "--host=127.0.0.1", f"--port={first}", f"--port-end={first + 20}",
                f"--tracker=127.0.0.1:{port}", f"--key={KEY}",
            )  # fmt: skip
        wait(2)
        yield f"127.0.0.1:{port}"
    finally:
        for process in processes:
            if process.poll() is None:
                # The servers have children of their own; each is a group started here.
                os.killpg(process.pid, 15)
            process.wait(30)


@pytest.mark.slow
def test_trials_are_built_here_and_timed_by_the_servers(tracker: str, tmp_path: Path) -> None:
    remote = Remote(tracker, KEY)
    assert remote.parallel == 2
    remote.close()
    result = gacer_tvm.tune(
        tenants(), "cpu", tmp_path, 3, rounds=1, search_seconds=0.5, cache=False, tracker=tracker, tracker_key=KEY
    )
    assert sorted(result.tasks.values()) == [3, 3]
    seconds = [s for t in Records.open(tmp_path).trials.values() for s in t.values()]
    assert all(len(s) == 3 and 0 < min(s) < FAILED for s in seconds)
    assert all(note.default is not None and note.tuned is not None for note in result.kernels.values())
    again = tuned(tmp_path, 3)
    assert again.trials == 0


@pytest.mark.slow
def test_a_key_that_no_server_has_is_refused(tracker: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no server with the key 'nobody'.*rpc_server"):
        gacer_tvm.tune(tenants(), "cpu", tmp_path, 3, tracker=tracker, tracker_key="nobody", cache=False)
