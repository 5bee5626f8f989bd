"""The map in a thread that runs ahead."""

import threading
import time

import pytest

from pix2pix_lightning.inference.prefetch import map_ahead


def test_results_come_in_order_from_another_thread():
    def square(number):
        return number**2, threading.current_thread()

    results = list(map_ahead(square, iter(range(50))))
    assert [number for number, _ in results] == [number**2 for number in range(50)]
    assert {thread for _, thread in results}.isdisjoint({threading.current_thread()})
    assert list(map_ahead(square, [])) == []


def test_only_a_few_items_are_drawn_ahead():
    drawn, done = [], threading.Event()

    def items():
        for number in range(1000):
            drawn.append((number, threading.current_thread()))
            yield number

    def signal(number):
        if number == 3:
            done.set()
        return number

    results = map_ahead(signal, items())
    assert next(results) == 0
    assert done.wait(timeout=30)  # before the result is asked for
    assert 4 <= len(drawn) <= 8
    assert {thread for _, thread in drawn} == {threading.current_thread()}
    for expected in range(1, 500):
        assert next(results) == expected
        assert len(drawn) <= expected + 8
    results.close()
    assert len(drawn) < 520


def test_error_at_the_position_of_its_result():
    def inverse(number):
        return 1 / number

    results = map_ahead(inverse, [1, 2, 0, 4])
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_pending_calls_finish_when_the_items_fail():
    finished = []

    def items():
        yield from range(10)
        raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        list(map_ahead(finished.append, items()))
    assert finished == list(range(10))


def test_calls_wait_when_fewer_may_be_pending():
    """As when small images, of which many are read ahead, are followed by large ones."""
    done, most = [], 20

    def read(number):
        nonlocal most
        if number == 5:
            most = 2
        done.append(number)
        return number

    for number in map_ahead(read, range(40), lambda: most):
        if number > 7:
            time.sleep(0.002)  # the thread had the time to run on
            assert len(done) <= number + 4
    assert done == list(range(40))
