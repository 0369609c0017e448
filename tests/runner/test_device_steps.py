"""What the benchmark of full-size models on a device makes of its measurements: medians, spreads, seconds."""

import runpy
import signal
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def child_class():
    return runpy.run_path(str(BENCHMARKS / "device_steps.py"))["Child"]


def seconds_with_stops(child_class, stops, spans):
    child = child_class.__new__(child_class)  # without the process that it stands for
    child._stops = stops
    return child._seconds(spans)


def test_seconds_leave_out_where_the_process_was_stopped(child_class):
    stop, go = signal.SIGSTOP, signal.SIGCONT
    stops = [(stop, 10.0), (go, 14.0), (stop, 20.0), (go, 21.0), (stop, 40.0)]
    spans = {
        "before": (0.0, 9.0),
        "over_one": (8.0, 18.0),
        "over_two": (8.0, 30.0),
        "first_step_s": {"bare": (12.0, 16.0)},
    }
    spans["still_stopped"] = (38.0, 50.0)
    seconds = seconds_with_stops(child_class, stops, spans)
    assert seconds == {
        "before": 9.0,
        "over_one": 6.0,
        "over_two": 17.0,
        "first_step_s": {"bare": 2.0},
        "still_stopped": 2.0,
    }


def test_blocks_alternate_and_long_steps_fill_them_too(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["device_programs.py"])
    measure = runpy.run_path(str(BENCHMARKS / "device_programs.py"), run_name="programs")["measure"]
    calls = []

    def program(name, step_s):
        def run(steps):
            calls.append((name, steps))
            return steps * step_s

        return run

    figures = measure({"short": program("short", 0.01), "long": program("long", 0.5)}, repeats=2, block_s=1.0)
    assert [calls.count(call) for call in (("short", 100), ("long", 8))] == [2, 2]
    assert [name for name, steps in calls if steps > 1] == ["short", "long", "long", "short"]
    assert figures == {"short": {"step_ms": 10.0, "spread": 0.0}, "long": {"step_ms": 500.0, "spread": 0.0}}
