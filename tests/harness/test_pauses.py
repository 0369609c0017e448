"""Pauses of the clock: nothing traces them, and what else runs in them is on record."""

import subprocess
import sys
import threading
import time

import pytest

from algoperf.background import PROCESS_MARK, THREAD_PREFIX
from algoperf.harness.pauses import OwnWork, PauseMonitor, untraced
from algoperf.records.pauses import PauseSummary

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
SPIN = [sys.executable, "-c", "while True: pass"]


def spin_until(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


@pytest.fixture
def thread():
    """Starts a thread with a function that waits for the end of the test."""
    stop = threading.Event()
    started = []

    def start(name: str, target=threading.Event.wait) -> None:
        started.append(threading.Thread(target=target, args=(stop,), name=name, daemon=True))
        started[-1].start()

    yield start
    stop.set()
    for running in started:
        running.join()


@pytest.fixture
def process():
    started = []

    def start(command, **options) -> None:
        started.append(subprocess.Popen(command, **options))

    yield start
    for running in started:
        running.kill()
        running.wait()


def test_an_honest_run_leaves_no_foreign_names_and_no_time(thread, process):
    process(SLEEP)
    thread("started before the submission")
    monitor = PauseMonitor(own := OwnWork())
    with own.starting():
        thread("logger")
        process(SLEEP)
    thread(f"{THREAD_PREFIX}prefetch")
    process(SLEEP, env={PROCESS_MARK: "1"})
    time.sleep(0.2)  # until the last process has its environment
    with monitor.watching():
        sum(range(10**6))
    summary = monitor.summary
    assert summary.num_pauses == 1
    assert (summary.foreign_threads, summary.foreign_processes, summary.foreign_cpu_s) == ((), (), 0.0)


def test_idle_threads_and_processes_of_a_submission_are_named_and_use_no_time(thread, process):
    monitor = PauseMonitor(OwnWork())
    thread("helper")
    process(SLEEP)
    time.sleep(0.5)  # until the interpreter has started
    for _ in range(2):
        with monitor.watching():
            time.sleep(0.05)
    summary = monitor.summary
    assert summary.foreign_threads == ("helper",)
    assert len(summary.foreign_processes) == 1
    assert (summary.max_foreign_threads, summary.max_foreign_processes) == (1, 1)
    assert summary.foreign_cpu_s < 0.03
    assert summary.total_s >= 0.1 > summary.longest_s >= 0.05


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_work_during_a_pause_is_counted_and_work_between_pauses_is_not(kind, thread, process):
    monitor = PauseMonitor(OwnWork())
    if kind == "thread":
        thread("busy", spin_until)
    else:
        process(SPIN)
    time.sleep(0.5)
    with monitor.watching():
        deadline_s = time.monotonic() + 20
        while _cpu_s(monitor) < 0.2 and time.monotonic() < deadline_s:
            time.sleep(0.05)
    used_s = monitor.summary.foreign_cpu_s
    assert 0.1 <= used_s <= 2 * monitor.summary.total_s
    assert monitor.summary.max_foreign_cpu_s == used_s


def _cpu_s(monitor: PauseMonitor) -> float:
    """CPU seconds of foreign work since the test began to look."""
    now = sum(monitor._observe().cpu_s.values())
    first = monitor.__dict__.setdefault("first_s", now)
    return now - first


def test_the_summary_continues_in_a_resumed_process():
    before, after = PauseMonitor(), PauseMonitor()
    with before.watching():
        pass
    before.summary = before.summary.with_pause(seconds=2.0, threads=["a"], processes=["b"], cpu_s=0.5)
    after.load_state_dict(before.state_dict())
    assert after.summary == before.summary
    later = after.summary.with_pause(seconds=1.0, threads=["c", "a"], cpu_s=0.25)
    assert later.foreign_threads == ("a", "c")
    assert (later.num_pauses, later.max_foreign_threads, later.max_foreign_cpu_s) == (3, 2, 0.5)
    assert later.foreign_cpu_s == 0.75


def test_names_are_at_most_sixteen():
    summary = PauseSummary().with_pause(seconds=1.0, threads=[f"t{number:02d}" for number in range(40)])
    assert len(summary.foreign_threads) == 16
    assert summary.max_foreign_threads == 40


def test_no_profiler_and_no_tracer_sees_a_pause_and_both_see_what_follows():
    seen = []

    def watch(frame, event, argument):
        seen.append(frame.f_code.co_name)

    def in_pause():
        thread = threading.Thread(target=in_thread_of_pause)
        thread.start()
        thread.join()

    def in_thread_of_pause():
        pass

    def after_pause():
        pass

    previous = sys.getprofile(), sys.gettrace()
    sys.setprofile(watch)
    sys.settrace(watch)
    threading.setprofile(watch)
    try:
        with untraced():
            in_pause()
        after_pause()
        assert sys.getprofile() is watch
        assert sys.gettrace() is watch
        assert threading.getprofile() is watch
    finally:
        sys.setprofile(previous[0])
        sys.settrace(previous[1])
        threading.setprofile(None)
    assert "after_pause" in seen
    assert not {"in_pause", "in_thread_of_pause"} & set(seen)
