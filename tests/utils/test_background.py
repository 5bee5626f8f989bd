import threading

import pytest

from pix2pix_lightning.utils.background import Background


def fail(what):
    raise OSError(what)


@pytest.fixture
def gate():
    """An event that jobs wait for; what waits is let go in the end."""
    gate = threading.Event()
    yield gate
    gate.set()


def names():
    return [thread.name for thread in threading.enumerate()]


def test_jobs_are_done_in_order_and_not_by_the_caller(gate):
    done, background = [], Background("shelf", at_most=20)
    background.do(gate.wait)
    for number in range(10):
        background.do(lambda number=number: done.append((number, threading.current_thread().name)))
    assert done == []
    gate.set()
    background.wait()
    assert [number for number, _ in done] == list(range(10))
    assert {name for _, name in done} == {"shelf_0"}
    assert "shelf_0" not in names()


def test_who_brings_one_too_many_waits(gate):
    background = Background("shelf", at_most=2)
    background.do(gate.wait)
    background.do(gate.wait)
    third = threading.Thread(target=background.do, args=[gate.wait])
    third.start()
    third.join(0.2)
    assert third.is_alive()
    gate.set()
    third.join()
    background.wait()


@pytest.mark.parametrize("call", ["check", "do", "wait"])
def test_an_error_is_raised_once_by_the_next_call_when_the_others_are_done(call, gate):
    done, background = [], Background("shelf", at_most=20)
    background.do(gate.wait)
    failing = background.do(lambda: fail("full"))
    background.do(lambda: done.append("after it"))
    background.do(lambda: fail("full, too"))
    gate.set()
    assert failing.exception()
    with pytest.raises(OSError, match=r"^full$"):
        background.do(lambda: None) if call == "do" else getattr(background, call)()
    assert done == ["after it"]
    assert "shelf_0" not in names()
    background.do(lambda: done.append("again"))
    background.wait()
    assert done == ["after it", "again"]
