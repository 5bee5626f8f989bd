"""A disk that is full, or closed to this user, costs one line and nothing that was written before."""

import ctypes
import errno
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from omegaconf import OmegaConf

from helpers import TINY, make_strips
from pix2pix_lightning import compose, evaluate, predict, train
from pix2pix_lightning.checkpoints.files import read_checkpoint, write_checkpoint
from pix2pix_lightning.cli.errors import format_error
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.log_file import LogFile

LAST, BEST = "run/checkpoints/last.ckpt", "run/checkpoints/best.ckpt"
SMALL = [*TINY, "data.size=16", "module.generator.num_downs=3", "callbacks.gallery.num_images=1", "run_dir=run"]
FULL = "no space left on device: make room there"
CLOSED = "permission denied: allow it to this user, or choose another place"

GO_ON = "; then continue with resume=run"


class Spoiler(Callback):
    """Does something to the disk, or to training, in an epoch."""

    def __init__(self, how: str, epoch: int = 1, room: int = 0) -> None:
        self.how, self.epoch, self.room = how, epoch, room

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.how == "raise" and batch_idx == 1:
            raise ZeroDivisionError("the real reason")

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch != self.epoch:
            return
        trainer.strategy.checkpoint_io.teardown()  # the last epoch's are written
        if self.how == "fill":
            fill(Path("filler"), self.room)
        elif self.how == "close":
            Path("run/checkpoints").chmod(0o555)


def spoiled(how, **options):
    words = {"_target_": "test_disk.Spoiler", "how": how, **options}
    return [f"callbacks.spoiler.{key}={value}" for key, value in words.items()]


def fill(path, room):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - room))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    return make_strips(tmp_path_factory.mktemp("pairs"), train=4, val=1)


@pytest.fixture(scope="session")
def configured(pairs):
    """The command's configuration with single keys, without the time that Hydra takes for each."""
    base = compose("train", [*SMALL, f"data.root={pairs}", "+callbacks.spoiler=null"])
    return lambda *words: OmegaConf.merge(base, OmegaConf.from_dotlist(list(words)))


@pytest.fixture(scope="session")
def undisturbed(configured, tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train.train(configured(f"run_dir={folder}"))
    return folder


@pytest.fixture(scope="session")
def first_epoch(configured, tmp_path_factory):
    """The folder that holds ``run``, a run of one epoch."""
    folder = tmp_path_factory.mktemp("first_epoch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train.train(configured("trainer.max_epochs=1"))
    return folder


@pytest.fixture
def run(configured):
    return lambda *words: train.train(configured(*words))


@pytest.fixture
def failing(configured, capfd):
    """The error line of a training that fails; no traceback was printed."""

    def line(*words):
        with pytest.raises((OSError, UserError)) as caught:
            train.train(configured(*words))
        err = capfd.readouterr().err
        assert "Traceback" not in err
        assert "Logging error" not in err
        return format_error(caught.value, "train")

    return line


def read_error(capfd):
    lines = capfd.readouterr().err.splitlines()
    assert not any("Traceback" in line or "Logging error" in line for line in lines), lines
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], lines
    return errors[0]


def assert_same(one, other):
    """The last weights of two runs."""
    states = [read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    monkeypatch.chdir(folder)
    yield folder
    monkeypatch.undo()
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    "room",
    [0, pytest.param(64 * 1024, marks=pytest.mark.slow)],
    ids=["for nothing", "for all but a checkpoint"],
)
def test_a_disk_that_fills_up_costs_one_line_and_the_run_goes_on_when_there_is_room(
    small_disk, run, failing, undisturbed, room
):
    line = failing(*spoiled("fill", room=room))
    assert FULL in line
    assert re.match(r"(/.*/)?run/\S+(?<!\.part): ", line)
    assert line.endswith(f"{GO_ON} 'trust=[test_disk]'")
    assert {path.name for path in Path("run/checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert read_checkpoint(LAST)["epoch"] == read_checkpoint(BEST)["epoch"] == 0

    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    run("resume=run", "callbacks.spoiler=null")
    assert_same(Path("run"), undisturbed)


@pytest.mark.filterwarnings("ignore:`ModelCheckpoint")  # the gallery's failure ended a validation
@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("checkpoints/last.ckpt", 0),
        ("config.yaml", 0),
        ("metrics.csv", 1),
        ("gallery/index.html", 1),
        ("summary.json", 1),
    ],
)
def test_a_file_for_which_there_is_no_room_is_named_and_nothing_is_lost(
    run, first_epoch, failing, undisturbed, full_disk, name, epoch
):
    shutil.copytree(first_epoch / "run", "run")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    full_disk.append(f"run/{name}")
    line = failing("resume=run", "trainer.max_epochs=2")
    assert re.match(rf"(/.*/)?run/{name}", line)
    assert FULL in line
    assert line.endswith(GO_ON)
    assert not list(Path().rglob("*.part"))
    assert Path(f"run/{name}").exists() == (name != "summary.json")
    if name == "metrics.csv":  # rows may have been added
        assert set(before[Path("run/metrics.csv")].splitlines()) <= set(
            Path("run/metrics.csv").read_bytes().splitlines()
        )
    elif name != "summary.json":
        assert Path(f"run/{name}").read_bytes() == before[Path(f"run/{name}")]
    assert read_checkpoint(LAST)["epoch"] == epoch

    run("resume=run", "trainer.max_epochs=2")
    assert_same(Path("run"), undisturbed)


def test_a_log_that_cannot_be_written_is_reported_once_and_does_not_end_the_run(
    run, first_epoch, undisturbed, capfd, monkeypatch
):
    shutil.copytree(first_epoch / "run", "run")
    monkeypatch.setattr(LogFile, "_open", lambda self: open("/dev/full", "a"))  # noqa: PTH123, SIM115
    run("resume=run", "trainer.max_epochs=2")
    err = capfd.readouterr().err
    assert err.count("run/train.log cannot be written: No space left on device") == 1
    assert "Logging error" not in err
    assert_same(Path("run"), undisturbed)


def test_a_full_disk_does_not_hide_why_training_ended(run, first_epoch, full_disk, caplog):
    shutil.copytree(first_epoch / "run", "run")
    before = Path(LAST).read_bytes()
    full_disk.append(LAST)
    with pytest.raises(ZeroDivisionError, match="the real reason"):
        run("resume=run", *spoiled("raise"))
    assert Path(LAST).read_bytes() == before
    assert f"{LAST} stays as it was, what was trained since is lost: No space left on device" in caplog.messages


def test_an_error_that_torch_hides_is_raised_and_a_bug_is_not_hidden(tmp_path, monkeypatch, full_disk):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"the last good one")
    full_disk.append(path)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a.ckpt'"):
        write_checkpoint({"weight": torch.zeros(100_000)}, path)

    def hiding(checkpoint, file):  # as torch's writer does where Python's buffer has nothing left to write
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")  # noqa: B904

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", hiding)
        with pytest.raises(OSError, match=r"No space left on device: '.*/a.ckpt'"):
            write_checkpoint({}, path)
    with pytest.raises(AttributeError, match="lambda"):
        write_checkpoint({"weight": lambda: None}, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]
    assert path.read_bytes() == b"the last good one"


@contextmanager
def bound_by_permissions():
    """Root is not, unless two capabilities are laid down for a while: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    before, after = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, before) == 0
    after[:] = before[:]
    after[0] &= ~(1 << 1 | 1 << 2)
    if libc.capset(header, after):
        pytest.skip("permissions do not bind root here, who cannot lay down capabilities")
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@pytest.fixture
def closed(tmp_path):
    """Pairs, a folder that is closed, and permissions that hold."""
    make_strips(Path("pairs"), train=4, val=1)
    Path("closed").mkdir(mode=0o555)
    with bound_by_permissions():
        yield


def test_a_folder_that_may_not_be_written_to(closed, failing):
    line = failing("data.root=pairs", "run_dir=closed/run")
    assert line == f"closed/run: {CLOSED}"
    assert not list(Path("closed").iterdir())


@pytest.mark.parametrize(
    ("name", "workers"), [("pairs/train", 0), ("pairs/train/train_1.png", 0), ("pairs/train/train_1.png", 1)]
)
def test_pairs_that_may_not_be_read(closed, failing, name, workers):
    Path(name).chmod(0)
    line = failing("data.root=pairs", f"data.num_workers={workers}")
    Path(name).chmod(0o755)
    if Path(name).is_dir():
        assert line.removesuffix(GO_ON) == f"{name}: {CLOSED}"
    else:
        assert all(
            words in line for words in (name, "permission denied", "allow it to this user", "data.on_error=skip")
        )


def test_a_run_that_becomes_closed_goes_on_when_it_is_open_again(closed, run, failing, undisturbed, capfd):
    line = failing("data.root=pairs", *spoiled("close"))
    assert f"/{BEST}: {CLOSED}{GO_ON}" in line
    Path("run/checkpoints").chmod(0o755)
    assert {path.name for path in Path("run/checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert read_checkpoint(LAST)["epoch"] == 0
    Path(LAST).chmod(0)
    assert failing("data.root=pairs", "resume=run", "callbacks.spoiler=null") == f"{LAST}: {CLOSED}"
    Path(LAST).chmod(0o644)
    run("data.root=pairs", "resume=run", "callbacks.spoiler=null")
    assert_same(Path("run"), undisturbed)

    for command, words in ((predict, ["input=pairs/val"]), (evaluate, ["split=val"])):
        assert command.main(["checkpoint=run", "output=closed/out", *words]) == 1
        line = read_error(capfd)
        assert line.startswith(f"error: {Path('closed').absolute()}/") or line.startswith("error: closed/")
        assert line.endswith(f": {CLOSED}")
    assert not list(Path("closed").iterdir())
