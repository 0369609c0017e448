"""The background reader."""

import itertools
import threading

import pytest

from algoperf.data import Prefetcher


def test_gives_transformed_items_in_order_and_counts_those_taken():
    with Prefetcher(iter(range(5)), lambda value: value * 10, depth=2, batches_taken=7) as prefetcher:
        assert list(prefetcher) == [0, 10, 20, 30, 40]
        assert prefetcher.batches_taken == 12
        assert list(prefetcher) == []


def test_reads_at_most_depth_ahead():
    read = []
    reached = threading.Event()

    def numbers():
        for number in itertools.count():
            read.append(number)
            if number == 3:
                reached.set()
            yield number

    with Prefetcher(numbers(), depth=3) as prefetcher:
        assert next(prefetcher) == 0
        assert reached.wait(timeout=5)  # one taken and three held
        assert not threading.Event().wait(timeout=0.05)
        assert read == [0, 1, 2, 3]
        assert prefetcher.batches_taken == 1


def test_works_in_another_thread():
    with Prefetcher(iter([None]), lambda _: threading.current_thread().name) as prefetcher:
        assert next(prefetcher) == "prefetch"


@pytest.mark.parametrize("where", ["iterator", "transform"])
def test_an_error_surfaces_after_the_items_before_it_and_stays(where):
    def numbers():
        yield 1
        if where == "iterator":
            raise OSError("disk gone")
        yield 2

    def transform(value):
        if value == 2:
            raise OSError("disk gone")
        return value

    with Prefetcher(numbers(), transform) as prefetcher:
        assert next(prefetcher) == 1
        for _ in range(2):
            with pytest.raises(OSError, match="disk gone"):
                next(prefetcher)
        assert prefetcher.batches_taken == 1


def test_close_ends_the_thread_in_the_middle_of_an_endless_stream():
    before = threading.active_count()
    prefetcher = Prefetcher(itertools.count())
    next(prefetcher)
    prefetcher.close()
    prefetcher.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(prefetcher)


def test_depth_must_be_positive():
    with pytest.raises(ValueError, match="depth"):
        Prefetcher(iter([]), depth=0)
