"""A run's folder has one run at a time, and is free when that one ends, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from helpers import TINY, make_strips
from pix2pix_lightning import train
from pix2pix_lightning.utils.lock import LOCK, lock_folder

HOLD = """
import os, sys
from pathlib import Path
from pix2pix_lightning.utils.lock import locked
with locked(Path("run")):
    if os.fork() == 0:  # as a loader's worker, which lives on when its parent is killed
        os.close(1)
        os.read(0, 1)
        os._exit(0)
    print("held", flush=True)
    os.waitpid(-1, 0)
"""
ASK = """
from pathlib import Path
from pix2pix_lightning.utils.lock import locked
try:
    with locked(Path("run")):
        print("free")
except ValueError as error:
    print(error)
"""


class Asker(Callback):
    """Asks for the folder from another process while training has it."""

    def on_train_start(self, trainer, pl_module):
        Path("answer").write_text(asked())


def asked():
    return subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def holder():
    """Another process that has the folder, and a child of it."""
    Path("run").mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()  # the child ends
    process.stdout.close()
    process.wait(10)


def test_a_run_in_progress_keeps_others_out_and_is_not_disturbed(tmp_path, capfd):
    make_strips(Path("pairs"), train=2, val=1)
    words = [*TINY, "data.root=pairs", "run_dir=run", "trainer.max_epochs=1", "callbacks.gallery=null"]
    assert train.main([*words, "+callbacks.asker._target_=test_lock.Asker"]) == 0
    assert Path("answer").read_text().startswith(f"run is in use by process {os.getpid()} on {os.uname().nodename}: ")
    assert not Path("run", LOCK).exists()
    assert asked() == "free"


def test_a_second_run_is_refused_until_the_first_is_killed(holder, capfd):
    pairs = make_strips(Path("pairs"), train=2, val=1)
    common = [*TINY, f"data.root={pairs}", "callbacks.gallery=null", "trainer.max_epochs=1"]
    assert train.main([*common, "run_dir=first"]) == 0
    (Path("run") / LOCK).rename("lock")  # the same file, in a folder with a run in it
    Path("run").rmdir()
    Path("first").rename("run")
    Path("lock").rename(Path("run") / LOCK)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    capfd.readouterr()

    longer = [*common, "trainer.max_epochs=2"]
    for words in (["resume=run"], ["resume=auto", "run_dir=run"]):
        assert train.main([*longer, *words]) == 1
        assert capfd.readouterr().err == (
            f"error: run is in use by process {holder.pid} on {os.uname().nodename}: wait for it, stop it, or choose "
            "another run_dir\n"
        )
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before

    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)  # its child still lives
    assert train.main([*longer, "resume=run"]) == 0
    assert not Path("run", LOCK).exists()


def test_a_file_system_without_locks_is_no_hindrance(monkeypatch, tmp_path):
    import fcntl

    def none(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", none)
    reached = []
    with lock_folder(tmp_path), lock_folder(tmp_path):
        reached.append(sorted(path.name for path in tmp_path.iterdir()))
    assert reached == [[LOCK]]
    assert not (tmp_path / LOCK).exists()


def test_a_lock_whose_file_was_just_taken_away_is_asked_for_again(monkeypatch, tmp_path):
    import fcntl

    lock, calls = fcntl.lockf, []

    def late(*args):
        calls.append(args)
        if len(calls) == 1:
            (tmp_path / LOCK).unlink()
        lock(*args)

    monkeypatch.setattr(fcntl, "lockf", late)
    with lock_folder(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert len(calls) == 2
