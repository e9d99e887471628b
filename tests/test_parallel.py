"""Work in threads: order, look-ahead, errors."""

import threading
from contextlib import closing

import pytest

from layerloom.core.parallel import Hand, do_in_threads, in_threads, read_ahead, thread_count


def test_results_come_in_order_and_items_are_taken_only_a_little_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = in_threads(lambda number: number**2, items())
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 4 + thread_count()
    assert list(results) == [number**2 for number in range(3, 100)]


def test_work_is_done_by_several_threads_where_there_are_cores():
    together = threading.Barrier(min(2, thread_count()))
    do_in_threads(lambda _: together.wait(timeout=10), range(2))


def test_an_error_reaches_the_caller_and_ends_the_work():
    begun = []

    def fail(number):
        begun.append(number)
        if number == 2:
            raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        do_in_threads(fail, range(10000))
    assert len(begun) <= 2 * thread_count() + 3


def test_a_source_is_read_a_little_ahead_by_a_thread_of_its_own():
    taken, closed = [], threading.Event()

    def items():
        try:
            for number in range(100):
                taken.append(threading.current_thread())
                yield number
        finally:
            closed.set()

    results = read_ahead(items(), 3)
    assert [next(results) for _ in range(5)] == list(range(5))
    assert len(taken) <= 8 and threading.current_thread() not in taken
    results.close()
    assert closed.is_set() and not taken[0].is_alive()


def test_an_error_of_a_source_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("two")

    results = read_ahead(items(), 3)
    assert next(results) == 1
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_a_hand_works_in_order_a_little_behind():
    done, go_on = [], threading.Semaphore(0)

    def work(number):
        assert go_on.acquire(timeout=10)
        done.append(number)

    with closing(Hand(work, 2)) as hand:
        for number in range(2):
            hand.put(number)  # without waiting, as nothing is done yet
        threading.Timer(0.05, go_on.release).start()
        hand.put(2)
        assert done == [0]
        go_on.release(2)
        hand.finish()
    assert done == [0, 1, 2]


def test_an_error_of_a_hand_is_raised_and_nothing_more_is_begun():
    begun = []

    def fail(number):
        begun.append(number)
        raise ValueError(f"number {number}")

    before = threading.active_count()
    with closing(Hand(fail, 2)) as hand, pytest.raises(ValueError, match="number 0"):
        for number in range(10):
            hand.put(number)
    assert begun == [0] and threading.active_count() == before


def test_who_stops_in_the_middle_leaves_no_thread():
    before = threading.active_count()
    with closing(Hand(lambda _: threading.Event().wait(0.05), 50)) as hand, pytest.raises(KeyboardInterrupt):
        for number in range(50):
            hand.put(number)
        raise KeyboardInterrupt
    assert threading.active_count() == before
