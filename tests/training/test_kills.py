"""Runs that are killed 200 times end as runs that were left alone: ``make test-slow``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import make_strips


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forks")
def test_killed_runs_end_as_if_they_had_been_left_alone(tmp_path, capfd):
    pairs = make_strips(tmp_path / "pairs", train=7, val=3, side=16)
    (tmp_path / "out").mkdir()
    script = Path(__file__).with_name("kill_series.py")
    command = [sys.executable, script, pairs, tmp_path / "out", "200"]  # a process of its own, without threads
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    with capfd.disabled():
        print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
