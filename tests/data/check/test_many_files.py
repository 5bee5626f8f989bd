"""Many files are read by one thread, or by several where each waits for the disk."""

import threading
from types import SimpleNamespace

import pytest

from pix2pix_lightning.data.check import many_files
from pix2pix_lightning.data.check.many_files import map_files


@pytest.mark.parametrize("waits", [False, True])
def test_files_are_read_in_threads_where_reading_waits(monkeypatch, waits):
    seconds, threads = {"wall": 0.0, "processor": 0.0}, []
    clock = SimpleNamespace(perf_counter=lambda: seconds["wall"], thread_time=lambda: seconds["processor"])
    monkeypatch.setattr(many_files, "time", clock)

    def read(value):
        seconds["wall"] += 0.001
        seconds["processor"] += 0.0001 if waits else 0.0009
        threads.append(threading.get_ident())
        return -value

    assert map_files(read, range(1000)) == [-value for value in range(1000)]
    here = threading.get_ident()
    assert set(threads[:200]) == {here}
    assert (here in threads[500:]) == (not waits)
