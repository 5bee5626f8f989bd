"""A search for input that a reader does not bear: ``make fuzz``.

A test describes the input as a Hypothesis strategy and gives a function that tries one value. What fails is made small
and printed as ``Failing test case``. A try that does not end within a minute, or that kills the process, is found in
``last_try.txt`` of the test's temporary folder.
"""

import faulthandler
import os
import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

MINUTES = float(os.environ.get("FUZZ_MINUTES", "10"))
HANG = 60  # seconds
MEMORY = 2**30  # bytes that a try may take
STATUS = Path("/proc/self/status")


@pytest.fixture
def search(tmp_path, record_property):
    """A function that tries values of a strategy until the minutes are over; each round draws with another seed."""

    def run(strategy, attempt, *, examples=100):
        end = time.monotonic() + 60 * MINUTES
        tries, has_failed = 0, False

        def attempt_one(value):
            nonlocal tries, has_failed
            if time.monotonic() > end and tries and not has_failed:
                return
            tries += 1
            (tmp_path / "last_try.txt").write_text(repr(value), errors="backslashreplace")
            faulthandler.dump_traceback_later(HANG, exit=True)
            try:
                with limit_memory():
                    attempt(value)
            except Exception:
                has_failed = True
                raise
            finally:
                faulthandler.cancel_dump_traceback_later()

        how = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        try:
            while not tries or time.monotonic() < end:
                how(given(strategy)(attempt_one))()
        finally:
            record_property("tries", tries)

    return run


@contextmanager
def limit_memory():
    """Fail where the block took more memory at one moment than ``MEMORY``, where the system tells."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = read_peak()
    yield
    taken = read_peak() - before
    assert taken < MEMORY, f"{taken / 2**20:.0f} MiB for one try"


def read_peak():
    """The greatest number of resident bytes of this process."""
    found = re.search(r"VmHWM:\s+(\d+)", STATUS.read_text()) if STATUS.is_file() else None
    return int(found[1]) * 1024 if found else 0


def pytest_terminal_summary(terminalreporter):
    """Print the number of tries of each test."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "tries" and report.when == "call":
                    terminalreporter.write_line(f"{value:8d} tries, {int(outcome == 'failed')} finds: {report.nodeid}")
