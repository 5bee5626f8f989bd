"""Run a function in several processes of this machine, and end all of them when one fails."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pix2pix_lightning.utils.errors import CTRL_C_STATUS, UserError
from pix2pix_lightning.utils.processes import Process, count_available_cores, is_peer_lost
from pix2pix_lightning.utils.text import EscapedFormatter

if TYPE_CHECKING:
    from torch.multiprocessing.spawn import ProcessContext

Result = TypeVar("Result")

_HOST = "127.0.0.1"
_POLL = 0.5  # seconds between looks at Ctrl-C, which does not end a wait on Windows
_PATIENCE = 20.0  # seconds in which the process whose end another one has noticed tells its own error


class _Group(NamedTuple):
    """What each process has to know.

    Attributes:
        devices: Device of each process.
        port: Port on which the processes find each other.
        num_threads: Threads of each process.
        folder: Folder for what the processes return.
    """

    devices: Sequence[str]
    port: int
    num_threads: int
    folder: Path


def run_on_devices(function: Callable[[str, Process], Result], devices: Sequence[str]) -> list[Result]:
    """Run a function in a process for each device, and return what each returns.

    The environment of each is that of ``torchrun``. Each has as many threads as this process, as far as the cores
    suffice. When one fails, is killed, or this process is interrupted, all others are stopped, as by Ctrl-C, before the
    error is raised.

    Args:
        function: A function that can be pickled, of a process's device and of the process. It may use
            `gather_results`.
        devices: Name of each process's torch device, in the order of the ranks.

    Returns:
        The results in the order of the devices.

    Raises:
        UserError: The system has ended a process.
        Exception: What the first process that failed has raised.
        ProcessRaisedException: The same, where it cannot be pickled; it has the traceback.
        KeyboardInterrupt: A process was interrupted.
        SystemExit: A process has ended itself with this status.
    """
    import torch
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

    # it listens in this process, so that no other program can take the port before the first process does
    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory(prefix="pix2pix_devices_") as scratch:
        folder = Path(scratch)
        group = _Group(devices, store.port, _share_threads(torch.get_num_threads(), len(devices)), folder)
        with _ignore_interrupts():  # a process that is interrupted while it starts would print where it was
            context = spawn(_run_process, (function, group), len(devices), join=False)  # type: ignore[no-untyped-call]
        try:
            _wait(context)
        except ProcessExitedException as stop:
            if stop.signal_name is not None:
                raise UserError(
                    f"process {stop.error_index + 1} of {len(devices)}, on {devices[stop.error_index]}, was ended by "
                    f"{stop.signal_name}, as the system does where memory runs out: set fewer devices"
                ) from None
            if stop.exit_code == CTRL_C_STATUS:
                raise KeyboardInterrupt from None
            raise SystemExit(stop.exit_code) from None
        except ProcessRaisedException as raised:
            path = folder / f"error_{raised.error_index}"
            if not path.is_file():  # it cannot be pickled
                raise
            error = _load(path)
            raise error from raised
        return [_load(folder / f"result_{rank}") for rank in range(len(devices))]


def _share_threads(num_threads: int, num_processes: int) -> int:
    """Return the threads of each process: those of this one if they fit, since sums depend on their number."""
    return max(1, min(num_threads, count_available_cores() // num_processes))


def _wait(context: ProcessContext) -> None:
    """Wait until all processes have ended, and stop those that are left at an error or an interrupt."""
    log = logging.getLogger("torch.multiprocessing.spawn")  # it tells each process that it stops
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        while not context.join(_POLL):
            pass
    except KeyboardInterrupt:
        with _ignore_interrupts():
            for process in context.processes:
                process.terminate()
            with suppress(Exception):  # each has been interrupted
                while not context.join():
                    pass
        raise
    finally:
        log.setLevel(level)


def _run_process(rank: int, function: Callable[[str, Process], Any], group: _Group) -> None:
    """Run the function in one of the processes, and leave its result or error in the folder."""
    import torch

    total = len(group.devices)
    _handle_signals(_interrupt)
    parent = parent_process()
    if parent is None or not parent.is_alive():
        raise SystemExit(CTRL_C_STATUS)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(total),
        "LOCAL_WORLD_SIZE": str(total),
        "MASTER_ADDR": _HOST,
        "MASTER_PORT": str(group.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the first process need not listen
    }
    torch.set_num_threads(group.num_threads)
    device = group.devices[rank]
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # the default of what names none
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(EscapedFormatter())
    try:
        result = function(device, Process(rank, total, can_gather=True))
    except KeyboardInterrupt:  # torch would take it for success
        raise SystemExit(CTRL_C_STATUS) from None
    except Exception as error:
        try:
            if is_peer_lost(error):  # the other process stops this one when it has told its error
                time.sleep(_PATIENCE)
        except KeyboardInterrupt:
            raise SystemExit(CTRL_C_STATUS) from None
        with suppress(Exception):  # an error that cannot be pickled is told by its traceback
            _save(error, group.folder / f"error_{rank}")
        raise
    finally:
        _handle_signals(_ignore)  # the process ends now
    _save(result, group.folder / f"result_{rank}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Stop as by Ctrl-C, so that what is being written is removed; once, so that this is not interrupted."""
    _handle_signals(_ignore)
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore a signal. With SIG_IGN Python would report one that has come already."""


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C during a block, also in the processes that are started in it."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # this is no main thread, which alone gets it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _save(value: Any, path: Path) -> None:
    """Pickle what can be unpickled, which not every error can."""
    content = pickle.dumps(value)
    pickle.loads(content)
    path.write_bytes(content)


def _load(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
