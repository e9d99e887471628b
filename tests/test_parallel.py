"""Work in threads: order, look-ahead, errors."""

import threading

import pytest

from layerloom.core.parallel import do_in_threads, in_threads, thread_count


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
