"""The bars of a translation, by one or several processes."""

import multiprocessing

import pytest

from pix2pix_lightning.inference.progress import ProgressBars
from pix2pix_lightning.utils.processes import Process
from terminals import open_terminal


@pytest.mark.parametrize(
    ("process", "is_child", "shown"),
    [
        (Process(), False, "images"),
        (Process(), True, None),
        (Process(0, 3), True, "images of process 1 of 3"),
        (Process(2, 3), True, None),
        (Process(2, 3), False, None),
    ],
)
def test_one_process_draws(process, is_child, shown, monkeypatch):
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object() if is_child else None)
    monkeypatch.setenv("TERM", "xterm")
    with open_terminal() as terminal, ProgressBars(7, process=process) as bars:
        bars.advance_images(2)
    drawn = terminal.raw.decode()
    assert ("images" in drawn) == (shown is not None)
    assert (shown or "") in drawn
    assert ("of process" in drawn) == ("of process" in (shown or ""))
