"""Several processes for the devices of a machine. They are forked here, which is faster than to start Python."""

import os
import signal
import sys
import time

import pytest
import torch
from torch.multiprocessing.spawn import ProcessRaisedException, start_processes

from pix2pix_lightning.utils import devices as devices_module
from pix2pix_lightning.utils import launching
from pix2pix_lightning.utils.devices import list_devices
from pix2pix_lightning.utils.errors import UserError
from pix2pix_lightning.utils.launching import run_on_devices
from pix2pix_lightning.utils.processes import Process, count_local_processes, gather_results, quiet_others

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
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


@pytest.fixture
def forked(monkeypatch):
    def fork(function, args, nprocs, join):
        return start_processes(function, args, nprocs, join, start_method="fork")

    monkeypatch.setattr(sys.modules["torch.multiprocessing.spawn"], "spawn", fork)
    monkeypatch.setattr(launching, "_POLL", 0.05)


def test_processes_have_ranks_and_gather(forked):
    def work(device, process):
        with gather_results(process) as gather:
            return device, gather(process.rank * 10), os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"]

    assert run_on_devices(work, ["cpu", "cpu"]) == [("cpu", [0, 10], "0", "2"), ("cpu", [0, 10], "1", "2")]
    assert "LOCAL_RANK" not in os.environ


@pytest.mark.parametrize("failing", [0, 1])
def test_the_error_is_that_of_the_process_that_failed_and_others_clean_up(failing, forked, tmp_path):
    def work(device, process):
        try:
            with gather_results(process) as gather:
                gather(0)
                if process.rank == failing:
                    time.sleep(0.1)
                    raise FileExistsError(17, "File exists", "a.png")
                gather(1)  # which fails, since the other has ended
        finally:
            (tmp_path / str(process.rank)).touch()

    with pytest.raises(FileExistsError) as caught:
        run_on_devices(work, ["cpu", "cpu"])
    assert (caught.value.errno, caught.value.filename) == (17, "a.png")
    assert f"rank == {failing}" not in str(caught.value)
    assert "FileExistsError" in str(caught.value.__cause__)  # the traceback of the process
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


def test_an_error_that_cannot_be_pickled_keeps_its_traceback(forked):
    class OwnError(Exception):
        pass

    def work(device, process):
        raise OwnError("what was wrong")

    with pytest.raises(ProcessRaisedException, match="what was wrong"):
        run_on_devices(work, ["cpu"])


def test_other_processes_are_stopped_as_by_ctrl_c(forked, tmp_path):
    def work(device, process):
        try:
            if process.rank == 1:
                time.sleep(0.1)
                raise UserError("wrong")
            time.sleep(30)
        finally:
            (tmp_path / str(process.rank)).touch()

    with pytest.raises(UserError, match=r"^wrong$"):
        run_on_devices(work, ["cpu", "cpu"])
    assert {path.name for path in tmp_path.iterdir()} == {"0", "1"}


def test_ctrl_c_in_the_first_process_or_another_stops_all(forked):
    def interrupt_parent(device, process):
        if process.rank == 1:
            os.kill(os.getppid(), signal.SIGINT)
        time.sleep(30)

    def interrupt_itself(device, process):
        if process.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)

    for work in (interrupt_parent, interrupt_itself):
        with pytest.raises(KeyboardInterrupt):
            run_on_devices(work, ["cpu", "cpu"])


def test_a_process_that_the_system_has_ended_is_named(forked):
    def work(device, process):
        if process.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30)

    with pytest.raises(UserError, match=r"2 of 2.*SIGKILL"):
        run_on_devices(work, ["cpu", "cpu"])


def test_an_exit_status_is_kept(forked):
    def work(device, process):
        raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        run_on_devices(work, ["cpu"])
    assert caught.value.code == 7
