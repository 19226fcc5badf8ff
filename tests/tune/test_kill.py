"""A process killed in the middle of tuning loses at most the trial in flight."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gacer_tvm.tune.records import Records

from .nets import Told, tuned

_SCRIPT = """
import sys, time
from pathlib import Path
from gacer_tvm import progress
from tests.tune.nets import Told, of_text, tuned

class Listener:
    def start(self, task, total):
        return task
    def advance(self, handle, steps, note):
        if steps and handle == "tuning":
            print("trial", flush=True)
    def finish(self, handle):
        pass

def slowly(text):
    time.sleep(0.2)
    return of_text(text)

with progress.listen(Listener()):
    tuned(Path(sys.argv[1]), 6, Told(slowly), own=int(sys.argv[2]))
"""


# All trials of MetaSchedule; three tilings of our own rule first.
@pytest.mark.parametrize("own", [0, 3])
def test_a_killed_run_loses_at_most_the_trial_in_flight(tmp_path: Path, own: int) -> None:
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(tmp_path), str(own)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    with child, child.stdout as lines:
        for _ in range(4):
            assert lines.readline() == "trial\n"
        child.send_signal(signal.SIGKILL)
        said = 4 + len(lines.read().splitlines())
    assert child.returncode == -signal.SIGKILL and said < 12
    killed = Records.open(tmp_path)
    held = [{k: dict(t) for k, t in kind.items()} for kind in (killed.trials, killed.tilings.trials)]
    kept = sum(len(t) for kind in held for t in kind.values())
    assert kept - 1 <= said <= kept
    rest = tuned(tmp_path, 6, Told(), own=own)
    assert rest.trials == 12 - kept
    after = Records.open(tmp_path)
    assert [after.count(k) for k in after.kernels] == [6, 6]
    assert sorted(len(t) for t in after.tilings.trials.values()) == ([3, 3] if own else [])
    for kind, now in zip(held, (after.trials, after.tilings.trials), strict=True):
        assert all(now[k][text] == seconds for k, t in kind.items() for text, seconds in t.items())
