"""Several processes for the devices of a machine: which there are, and how they end."""

import os
import pickle
import signal
import sys
import time
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from pix2pix_lightning.utils import devices as devices_module
from pix2pix_lightning.utils import launching
from pix2pix_lightning.utils.devices import list_devices
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.launching import run_on_devices
from pix2pix_lightning.utils.processes import (
    Process,
    count_local_processes,
    detect_process,
    gather_results,
    quiet_others,
)

ALONE = Process()


@pytest.fixture
def machine(monkeypatch):
    """A function that sets what this machine has."""

    def set_machine(gpus, cores):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        for module in (devices_module, launching):
            monkeypatch.setattr(module, "count_available_cores", lambda: cores)

    return set_machine


@pytest.mark.parametrize(
    ("devices", "device", "gpus", "expected"),
    [
        (1, "auto", 4, ["auto"]),
        ("1", "cuda:3", 4, ["cuda:3"]),
        (2, "auto", 4, ["cuda:0", "cuda:1"]),
        ("3", "cuda", 4, ["cuda:0", "cuda:1", "cuda:2"]),
        ("auto", "auto", 2, ["cuda:0", "cuda:1"]),
        ("auto", "auto", 1, ["auto"]),
        ("auto", "auto", 0, ["auto"]),
        ("auto", "cpu", 2, ["cpu"]),
        ("auto", "cuda", 0, ["cuda"]),  # of which the translator tells that there is none
        (2, "auto", 0, ["cpu", "cpu"]),
        (3, "cpu", 2, ["cpu", "cpu", "cpu"]),
    ],
)
def test_each_process_gets_a_device(devices, device, gpus, expected, machine):
    machine(gpus, cores=3)
    assert list_devices(devices, device, ALONE) == expected


@pytest.mark.parametrize("devices", [0, -1, True, None, 1.5, "2.0", "all", "", "[0,1]", [0, 1]])
def test_what_is_no_number_of_devices_is_refused(devices, machine):
    machine(4, cores=4)
    with pytest.raises(UserError, match=r"^devices="):
        list_devices(devices, "auto", ALONE)


@pytest.mark.parametrize(
    ("devices", "device", "process", "fix"),
    [
        (3, "auto", ALONE, "devices=auto"),
        (3, "cuda", ALONE, "devices=auto"),
        (5, "cpu", ALONE, "devices=4"),
        (2, "cuda:1", ALONE, "device=cuda "),
        ("auto", "cuda:0", ALONE, "device=cuda "),
        (2, "mps", ALONE, "leave devices out"),
        (2, "auto", Process(1, 2, can_gather=True), "torchrun"),
        ("auto", "auto", Process(0, 1, can_gather=True), "torchrun"),
        (2, "auto", Process(0, 3, can_gather=False), "srun"),
    ],
)
def test_what_cannot_be_done_is_refused(devices, device, process, fix, machine):
    machine(2, cores=4)
    with pytest.raises(UserError, match=f"^devices={devices}.*{fix}"):
        list_devices(devices, device, process)
    assert list_devices(1, device, process) == [device]


@pytest.mark.parametrize(
    ("threads", "processes", "cores", "each"), [(2, 2, 2, 1), (1, 2, 2, 1), (4, 8, 64, 4), (64, 8, 64, 8), (2, 3, 2, 1)]
)
def test_threads_are_those_of_one_process_as_far_as_cores_suffice(threads, processes, cores, each, machine):
    machine(0, cores)
    assert launching._share_threads(threads, processes) == each


@pytest.mark.parametrize(("value", "count"), [(None, 1), ("", 1), ("4", 4), ("0", 1), ("x", 1)])
def test_processes_of_a_machine(value, count, monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if value is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", value)
    assert count_local_processes() == count


def test_the_first_process_warns_for_all(caplog, monkeypatch):
    log = launching.logging.getLogger("pix2pix_lightning")
    monkeypatch.setattr(log, "level", log.level)
    quiet_others(Process(0, 2))
    assert log.isEnabledFor(launching.logging.WARNING)
    quiet_others(Process(1, 2))
    assert not log.isEnabledFor(launching.logging.WARNING)
    log.setLevel(log.level)


class Raised(NamedTuple):
    """A context of processes of which one has failed."""

    error: Exception
    processes: tuple = ()

    def join(self, timeout=None):
        raise self.error


def start_failing(monkeypatch, error, saved=None):
    """Let the start of processes leave what failed ones would."""

    def spawn(function, args, nprocs, join):
        if saved is not None:
            launching._save(saved, args[1].folder / "error_1")
        return Raised(error)

    monkeypatch.setattr(sys.modules["torch.multiprocessing.spawn"], "spawn", spawn)


@pytest.mark.parametrize(
    ("error", "saved", "expected", "pattern"),
    [
        (ProcessExitedException("", 1, 5, -9, "SIGKILL"), None, UserError, r"process 2 of 2, on cuda:1.*SIGKILL"),
        (ProcessExitedException("", 1, 5, 130), None, KeyboardInterrupt, "^$"),
        (ProcessExitedException("", 1, 5, 7), None, SystemExit, "7"),
        (ProcessRaisedException("traceback", 1, 5), None, ProcessRaisedException, "traceback"),
        (ProcessRaisedException("traceback", 1, 5), UserError("wrong"), UserError, "^wrong$"),
        (ProcessRaisedException("traceback", 1, 5), FileExistsError(17, "exists", "a.png"), FileExistsError, "a.png"),
    ],
)
def test_the_error_is_that_of_the_process_that_failed(error, saved, expected, pattern, monkeypatch):
    start_failing(monkeypatch, error, saved)
    with pytest.raises(expected, match=pattern) as caught:
        run_on_devices(print, ["cuda:0", "cuda:1"])
    assert saved is None or caught.value.__cause__ is error  # which has the traceback


@pytest.fixture
def in_process(tmp_path, monkeypatch):
    """A function that runs another one as the second of two processes, in this one."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(launching, "parent_process", lambda: SimpleNamespace(is_alive=lambda: True))
    group = launching._Group(["cpu", "cpu"], 1234, torch.get_num_threads(), tmp_path)
    yield lambda function: launching._run_process(1, function, group)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_process_has_the_environment_of_torchrun_and_leaves_its_result(in_process, tmp_path):
    def work(device, process):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        return device, process, detect_process(), [os.environ[name] for name in names]

    in_process(work)
    process = Process(1, 2, can_gather=True)
    expected = ("cpu", process, process, ["1", "2", "1", "2", "127.0.0.1", "1234"])
    assert pickle.loads((tmp_path / "result_1").read_bytes()) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["result_1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_process_once_and_what_is_open_is_closed(number, in_process, tmp_path):
    def work(device, process):
        try:
            os.kill(os.getpid(), number)
            time.sleep(30)
        finally:
            os.kill(os.getpid(), number)  # does not interrupt this
            time.sleep(0.01)
            (tmp_path / "closed").touch()

    with pytest.raises(SystemExit) as caught:
        in_process(work)
    assert caught.value.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["closed"]


def test_a_process_that_misses_another_waits_for_the_error_of_that(in_process, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(launching.time, "sleep", waited.append)

    def fail(error):
        with pytest.raises(type(error)):
            in_process(lambda device, process: exec("raise error", {"error": error}))
        assert str(pickle.loads((tmp_path / "error_1").read_bytes())) == str(error)

    fail(UserError("wrong"))
    assert waited == []
    fail(RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"))
    assert len(waited) == 1


def test_a_process_whose_parent_has_ended_does_nothing(in_process, monkeypatch):
    monkeypatch.setattr(launching, "parent_process", lambda: SimpleNamespace(is_alive=lambda: False))
    with pytest.raises(SystemExit):
        in_process(lambda device, process: pytest.fail("it has started"))


# --- real processes


@pytest.fixture
def from_server(monkeypatch):
    """Start processes as forks of one that has imported torch, and no threads."""
    torch.multiprocessing.set_forkserver_preload(["torch", "torch.distributed", "pytest"])

    def spawn(function, args, nprocs, join):
        return start_processes(function, args, nprocs, join, start_method="forkserver")

    monkeypatch.setattr(sys.modules["torch.multiprocessing.spawn"], "spawn", spawn)


def gather_ranks(device, process):
    with gather_results(process) as gather:
        return device, gather(process.rank * 10)


def fail_in_one(device, process, folder, failing):
    """Fail in one process, and in the other since that has ended."""
    try:
        with gather_results(process) as gather:
            gather(0)
            if process.rank == failing:
                raise FileExistsError(17, "File exists", "a.png")
            gather(1)
    finally:
        (folder / str(process.rank)).touch()


def sleep_in_one(device, process, folder):
    try:
        if process.rank == 1:
            time.sleep(0.3)
            raise UserError("wrong")
        time.sleep(100)
    finally:
        (folder / str(process.rank)).touch()


def send_signal(device, process, number, to_parent):
    if process.rank == 1:
        time.sleep(0.5)  # until all have started
        os.kill(launching.parent_process().pid if to_parent else os.getpid(), number)
    time.sleep(100)


@pytest.mark.slow
@pytest.mark.usefixtures("from_server")
def test_real_processes_gather_fail_and_stop_together(tmp_path):
    assert run_on_devices(gather_ranks, ["cpu", "cpu"]) == [("cpu", [0, 10]), ("cpu", [0, 10])]
    for failing in (0, 1):
        (folder := tmp_path / str(failing)).mkdir()
        with pytest.raises(FileExistsError) as caught:
            run_on_devices(partial(fail_in_one, folder=folder, failing=failing), ["cpu", "cpu"])
        assert (caught.value.errno, caught.value.filename) == (17, "a.png")
        assert {path.name for path in folder.iterdir()} == {"0", "1"}
    (folder := tmp_path / "sleep").mkdir()
    with pytest.raises(UserError, match=r"^wrong$"):
        run_on_devices(partial(sleep_in_one, folder=folder), ["cpu", "cpu"])
    assert {path.name for path in folder.iterdir()} == {"0", "1"}
    for to_parent in (True, False):
        with pytest.raises(KeyboardInterrupt):
            run_on_devices(partial(send_signal, number=signal.SIGINT, to_parent=to_parent), ["cpu", "cpu"])
    with pytest.raises(UserError, match=r"2 of 2.*SIGKILL"):
        run_on_devices(partial(send_signal, number=signal.SIGKILL, to_parent=False), ["cpu", "cpu"])
