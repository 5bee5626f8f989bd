"""A run's folder has one run at a time, and is free when that one ends, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from pix2pix_lightning.train import train
from pix2pix_lightning.utils.lock import LOCK, lock_folder, wait_for_lock
from tiny_training import NO_GALLERY, configure, use_probe

HOLD = """
import os, sys
from pathlib import Path
from pix2pix_lightning.utils.lock import lock_folder
with lock_folder(Path("run")):
    if os.fork() == 0:  # as a loader's worker, which lives on when its parent is killed
        os.close(1)
        os.read(0, 1)
        os._exit(0)
    print("held", flush=True)
    os.waitpid(-1, 0)
"""
ASK = """
from pathlib import Path
from pix2pix_lightning.utils.lock import lock_folder
try:
    with lock_folder(Path("run")):
        print("free")
except ValueError as error:
    print(error)
"""


class Asker(Callback):
    """Asks for the folder from another process while a training holds it."""

    def on_train_start(self, trainer, pl_module):
        Path("answer").write_text(ask())


def ask():
    return subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def holder():
    """Another process that holds the folder, and a child of it."""
    Path("run").mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()  # the child ends
    process.stdout.close()
    process.wait(10)


def test_a_run_in_progress_keeps_others_out_and_is_not_disturbed(small_pairs):
    words = [f"data.root={small_pairs}", "run_dir=run", "trainer.max_epochs=1", NO_GALLERY]
    train(configure(*words, use_probe(Asker())))
    assert Path("answer").read_text().startswith(f"run is in use by process {os.getpid()} on {os.uname().nodename}: ")
    assert not Path("run", LOCK).exists()
    assert ask() == "free"


def test_a_second_run_is_refused_until_the_first_is_killed(holder, small_pairs):
    common = [f"data.root={small_pairs}", NO_GALLERY]
    train(configure(*common, "trainer.max_epochs=1", "run_dir=first"))
    (Path("run") / LOCK).rename("lock")  # the same file, in a folder with a run in it
    Path("run").rmdir()
    Path("first").rename("run")
    Path("lock").rename(Path("run") / LOCK)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}

    for words in (["resume=run"], ["resume=auto", "run_dir=run"]):
        with pytest.raises(ValueError, match=f"process {holder.pid} on {os.uname().nodename}: .*run_dir"):
            train(configure(*common, *words))
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before

    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)  # its child still lives
    train(configure(*common, "resume=run"))
    assert not Path("run", LOCK).exists()


def test_a_file_system_without_locks_is_usable(monkeypatch, tmp_path):
    import fcntl

    def none(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", none)
    reached = []
    with lock_folder(tmp_path), lock_folder(tmp_path):
        reached.append(sorted(path.name for path in tmp_path.iterdir()))
    assert reached == [[LOCK]]
    assert not (tmp_path / LOCK).exists()


def test_a_lock_whose_file_was_just_removed_is_taken_again(monkeypatch, tmp_path):
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


def test_no_lock_is_written_through_a_link():
    Path("run").mkdir()
    Path("other").write_text("the user's")
    (Path("run") / LOCK).symlink_to(Path("other").absolute())
    with pytest.raises(ValueError, match=LOCK), lock_folder(Path("run")):
        pass
    with pytest.raises(ValueError, match=LOCK), wait_for_lock(Path("run") / LOCK, list):
        pass
    assert Path("other").read_text() == "the user's"
