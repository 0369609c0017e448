"""The background reader."""

import itertools
import threading

import pytest

from algoperf.data import Prefetcher


def test_gives_transformed_items_in_order_and_counts_those_taken():
    with Prefetcher(lambda start: iter(range(5)), lambda value: value * 10, depth=2) as prefetcher:
        assert list(prefetcher) == [0, 10, 20, 30, 40]
        assert prefetcher.batches_taken == 5
        assert list(prefetcher) == []


def test_a_restored_queue_gives_the_item_after_the_last_one_taken():
    with Prefetcher(itertools.count, depth=3) as prefetcher:
        taken = [next(prefetcher) for _ in range(4)]
        saved = prefetcher.state_dict()
        with pytest.raises(RuntimeError, match="before reading begins"):
            prefetcher.load_state_dict(saved)
    resumed = Prefetcher(itertools.count, depth=3)
    resumed.load_state_dict(saved)
    taken += [next(resumed) for _ in range(3)]
    resumed.close()
    assert taken == list(range(7))


def test_a_queue_that_never_started_closes():
    prefetcher = Prefetcher(itertools.count)
    prefetcher.close()
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

    with Prefetcher(lambda start: numbers(), depth=3) as prefetcher:
        assert next(prefetcher) == 0
        assert reached.wait(timeout=5)  # one taken and three held
        assert not threading.Event().wait(timeout=0.05)
        assert read == [0, 1, 2, 3]
        assert prefetcher.batches_taken == 1


def test_works_in_another_thread():
    with Prefetcher(lambda start: iter([None]), lambda _: threading.current_thread().name) as prefetcher:
        assert next(prefetcher) == "algoperf-prefetch"


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

    with Prefetcher(lambda start: numbers(), transform) as prefetcher:
        assert next(prefetcher) == 1
        for _ in range(2):
            with pytest.raises(OSError, match="disk gone"):
                next(prefetcher)
        assert prefetcher.batches_taken == 1


def test_close_ends_the_thread_in_the_middle_of_an_endless_stream():
    before = threading.active_count()
    prefetcher = Prefetcher(itertools.count)
    next(prefetcher)
    prefetcher.close()
    prefetcher.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(prefetcher)


def test_depth_must_be_positive():
    with pytest.raises(ValueError, match="depth"):
        Prefetcher(itertools.count, depth=0)
