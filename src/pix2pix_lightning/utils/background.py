"""Run jobs in a thread while training continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for


class Background:
    """Run jobs one after the other in a thread. The error of a job is raised by the next call, after all others ended.

    A process that ends by itself waits for its jobs; one that is killed does not.

    Args:
        name: Name of the thread.
        at_most: Largest number of unfinished jobs; `do` waits before it takes a further one.
    """

    def __init__(self, name: str, *, at_most: int) -> None:
        self._name = name
        self._at_most = at_most
        self._executor: ThreadPoolExecutor | None = None
        self._jobs: deque[Future[object]] = deque()

    def do(self, job: Callable[[], object]) -> Future[object]:
        """Queue a job, and return its future, which can be cancelled until the job has started."""
        self.check()
        while len(self._jobs) >= self._at_most:
            wait_for([self._jobs[0]])
            self.check()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        self._jobs.append(self._executor.submit(job))
        return self._jobs[-1]

    def check(self) -> None:
        """Raise the error of a job that has failed, without waiting."""
        while self._jobs and self._jobs[0].done():
            first = self._jobs.popleft()
            if not first.cancelled() and first.exception() is not None:
                self._end()
                first.result()

    def wait(self) -> None:
        """Wait until all jobs are done and the thread has ended."""
        wait_for(self._jobs)
        self.check()
        self._end()

    def _end(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
        self._executor = None
        self._jobs.clear()
