"""Run jobs, in one process or in several, with the same results."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import NamedTuple

from pix2pix_lightning.data.files.image_files import format_reason
from pix2pix_lightning.prepare.jobs import Job
from pix2pix_lightning.prepare.pictures import Image, PictureWriter
from pix2pix_lightning.utils.errors import UserError

_CHUNK = 4  # jobs that are sent to a process at once
_MIN_JOBS_PER_PROCESS = 16  # a process takes as long to start


class Pair(NamedTuple):
    """Pictures of a job.

    Attributes:
        pictures: One for each output.
        is_transparent: Whether a file has transparent pixels, which were laid over white.
    """

    pictures: Sequence[Image]
    is_transparent: bool


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        reason: Why it was skipped, in one line; None where its outputs were written.
        is_transparent: Whether a file has transparent pixels.
    """

    reason: str | None = None
    is_transparent: bool = False


Convert = Callable[[Job], Pair]


def run_jobs(
    convert: Convert, jobs: Sequence[Job], writer: PictureWriter, workers: int
) -> Generator[Outcome, None, None]:
    """Run jobs.

    Args:
        convert: Reads the inputs of a job and makes the pictures of its outputs. Its ``UserError`` and ``OSError`` skip
            the job. It is sent to the other processes.
        jobs: The jobs.
        writer: Writes the pictures.
        workers: Number of processes; 1 runs the jobs in this one.

    Yields:
        The outcomes, in the order of the jobs.

    Raises:
        UserError: A process ended, mostly since memory ran out.
        OSError: An output cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed. Of several processes each has finished what it had begun.
    """
    if workers == 1:
        for job in jobs:
            yield run_job(convert, writer, job)
        return
    # processes that are forked would share the state of OpenCV's threads
    with _collect_interrupts() as is_interrupted, _open_pool(convert, writer, workers) as pool:
        try:
            with _block_interrupt():
                outcomes = pool.map(_run_in_worker, jobs, chunksize=_CHUNK)
            for outcome in outcomes:
                yield outcome
                if is_interrupted.is_set():
                    raise KeyboardInterrupt
        except BrokenProcessPool:
            raise UserError(
                f"one of workers={workers} processes ended, perhaps since memory ran out: set workers=1; the same "
                "command continues"
            ) from None


def choose_num_workers(workers: int | None, num_jobs: int, cores: int) -> int:
    """Choose the number of processes.

    Args:
        workers: What was asked for, or None.
        num_jobs: Number of jobs.
        cores: CPU cores that may be used.

    Returns:
        ``workers``, or one for each core where there is enough to do; no more than there are jobs.
    """
    most = cores if workers is None else workers
    return max(1, min(most, num_jobs if workers else num_jobs // _MIN_JOBS_PER_PROCESS))


def run_job(convert: Convert, writer: PictureWriter, job: Job) -> Outcome:
    """Run one job.

    Args:
        convert: As in ``run_jobs``.
        writer: Writes the pictures.
        job: The job.

    Returns:
        What became of it.

    Raises:
        OSError: An output cannot be written.
    """
    try:
        pair = convert(job)
    except (UserError, OSError) as error:
        return Outcome(format_reason(error))
    try:
        for path, picture in zip(job.outputs, pair.pictures, strict=True):
            writer(path, picture)
    except UserError as error:
        return Outcome(format_reason(error))
    return Outcome(None, pair.is_transparent)


@contextmanager
def _open_pool(convert: Convert, writer: PictureWriter, workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open processes for a block; after an error they finish what they have begun, and no more."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(convert, writer))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _collect_interrupts() -> Iterator[threading.Event]:
    """Set an event at Ctrl-C during a block: an exception in the middle of the pool's code would leave it hanging."""
    is_interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield is_interrupted
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: is_interrupted.set())
    try:
        yield is_interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _block_interrupt() -> Iterator[None]:
    """Start processes in a block so that Ctrl-C reaches them never, and this one after the block."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: list[tuple[Convert, PictureWriter]] = []  # of a process, what it does


def _start_worker(convert: Convert, writer: PictureWriter) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops it, between two jobs
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.WARNING)  # the parent says what is to be said, once
    cv2.setNumThreads(0)
    _worker.append((convert, writer))


def _end_with_parent() -> None:
    """End this process when the parent is gone, which else would leave it waiting for jobs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run_in_worker(job: Job) -> Outcome:
    convert, writer = _worker[0]
    return run_job(convert, writer, job)
