"""Stop a training by a signal, so that it can be resumed, and hand a Slurm job back to its queue."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from pix2pix_lightning.utils.errors import CTRL_C_STATUS, RESUMABLE_STATUS, Interrupted

_log = logging.getLogger(__name__)
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_REQUEUE_SECONDS = 60.0


class StopSignals:
    """What to do when SIGINT, SIGTERM, SIGUSR1 or SIGHUP arrives during a training.

    While the training is set up, the signal ends it at once. While it runs, the signal is kept until the training asks
    for it after a batch. A second Ctrl-C ends the process at once in both cases.

    Attributes:
        received: The first signal that arrived, or None.
        is_training: Whether signals are kept.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.is_training = False
        self._num_ctrl_c = 0
        self._before: dict[signal.Signals, object] = {}

    def install(self) -> None:
        """Take the signals over. Those that are ignored stay so, as ``nohup`` and shells set it for the background.

        Only the main thread can do so; in another one nothing happens.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:  # a second call takes back what Lightning has set meanwhile
            before = self._before.setdefault(number, signal.getsignal(number))
            if before is None:  # a handler that is not Python's, which could not be given back
                continue
            signal.signal(number, signal.SIG_IGN if before == signal.SIG_IGN else self._handle)

    def restore(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self._before.items():
            if handler is not None:
                signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def build_exception(self, hint: str = "") -> Interrupted:
        """Return what ends the training because of the signal that was received.

        Args:
            hint: How to continue.
        """
        if self.received in (None, signal.SIGINT):
            return Interrupted(hint, CTRL_C_STATUS)
        return Interrupted(f"{self.received.name}; {hint}" if hint else self.received.name, RESUMABLE_STATUS)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._num_ctrl_c += 1
            if self._num_ctrl_c > 1:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
        if self.received is not None:  # queues and launchers send theirs several times
            return
        self.received = signal.Signals(number)
        if not self.is_training:
            raise self.build_exception()
        if number == signal.SIGINT:
            _log.info("stopping after this batch; Ctrl-C again ends at once, without a checkpoint")
        else:
            _log.info("%s: stopping after this batch", self.received.name)


@contextmanager
def handle_stop_signals() -> Iterator[StopSignals]:
    """Handle signals in a block, and give them back afterwards."""
    signals = StopSignals()
    signals.install()
    try:
        yield signals
    finally:
        signals.restore()


def requeue_slurm_job(received: signal.Signals | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Put the Slurm job of this process back into its queue, if SIGUSR1 has warned it of its end.

    SIGTERM does not count: ``scancel`` sends it, and at preemption Slurm requeues by itself.

    Args:
        received: The signal that has stopped the training.
        environment: Environment variables, of which Slurm's are read.

    Returns:
        Whether the job will start again.
    """
    job = environment.get("SLURM_JOB_ID")
    is_first = environment.get("SLURM_PROCID", "0") == "0"  # the job's other processes may be runs of their own
    if job is None or received != getattr(signal, "SIGUSR1", None) or not is_first:
        return False
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        answer = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=_REQUEUE_SECONDS, check=False
        )
        reason = "" if answer.returncode == 0 else (answer.stderr.strip() or f"status {answer.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        _log.warning("Slurm job %s was not requeued, submit it again: %s", job, " ".join(reason.split()))
        return False
    _log.info("Slurm job %s is requeued", job)
    return True
