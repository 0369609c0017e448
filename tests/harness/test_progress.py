import dataclasses
import io
import math
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import Direction, MetricSpec
from algoperf.harness.progress import Progress, time_to_target_s
from algoperf.records.outcome import Outcome
from algoperf.testing import FakeClock
from algoperf.testing.toy_workload.definition import MINI

ACCURACY = MetricSpec(name="accuracy", direction=Direction.MAXIMIZE)
LOSS = MetricSpec(name="loss", direction=Direction.MINIMIZE)
DEFINITION = dataclasses.replace(MINI, metric=ACCURACY, validation_target=0.97)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def accuracy(value, **others):
    return {"validation/accuracy": value, **others}


def started(stream=None, **options):
    stream, clock = stream or io.StringIO(), FakeClock()
    return Progress(DEFINITION, 60.0, stream=stream, clock=clock, **options), stream, clock


def test_plain_lines_every_ten_seconds_where_there_is_no_terminal():
    progress, stream, clock = started()
    for second in range(35):
        clock.now_s = float(second)
        progress.update(100 * second, float(second), 5.0)
    lines = stream.getvalue().splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["step 0", "step 1,000", "step 2,000", "step 3,000"]
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_one_live_line_five_times_a_second_in_a_terminal():
    progress, stream, clock = started(Terminal())
    for tick in range(100):
        clock.now_s = tick / 100
        progress.update(tick, tick / 100, 5.0)
    assert stream.getvalue().count("\r\x1b[K") == 5
    assert "\n" not in stream.getvalue()
    progress.evaluation(100, 1.0, accuracy(0.5))
    assert stream.getvalue().endswith("accuracy 0.5000 target 0.9700\n")


def test_a_terminal_shows_what_is_being_evaluated_and_how_far_it_is():
    progress, stream, clock = started(Terminal())
    progress.evaluation(1, 0.5, accuracy(0.5))
    progress.update(100, 1.0, 0.0)
    stream.truncate(stream.seek(0))
    for name in ("train", "validation"):
        for tick in range(6):
            progress.evaluating(name, 200 * tick, 1_000)
            clock.now_s += 0.125
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines[1] == "evaluating train: 0 of 1,000 examples | 0.0 s | accuracy 0.5000 target 0.9700"
    assert [line.split(" | ")[0] for line in lines[1:]] == [
        f"evaluating {name}: {done} of 1,000 examples" for name in ("train", "validation") for done in (0, 400, 800)
    ]
    assert lines[-1].split(" | ")[1] == "1.2 s"
    assert "\n" not in stream.getvalue()
    progress.evaluation(100, 1.0, accuracy(0.6))
    progress.evaluating("train", 0, 1_000)
    assert "| 0.0 s | accuracy 0.6000" in stream.getvalue().split("\r\x1b[K")[-1], "elapsed time starts anew"


def test_plain_lines_are_written_of_long_evaluations_only():
    progress, stream, clock = started()
    clock.now_s = 100.0
    for done in range(25):
        progress.evaluating("test", done, 25)
        clock.now_s += 1.0
    assert [line.split(" | ")[:2] for line in stream.getvalue().splitlines()] == [
        ["evaluating test: 10 of 25 examples", "10 s"],
        ["evaluating test: 20 of 25 examples", "20 s"],
    ]


def test_the_line_shows_where_the_run_stands():
    progress, stream, clock = started()
    progress.update(1_000, 1.0, 0.0)
    progress.evaluation(1_000, 1.0, accuracy(0.9, **{"train/accuracy": 0.95, "test/accuracy": 0.85}))
    progress.evaluation(1_500, 2.0, accuracy(0.8))
    clock.now_s = 10.0
    progress.update(3_000, 11.0, 125.0)
    lines = stream.getvalue().splitlines()
    assert lines[1] == "1.0 s step 1,000: accuracy 0.9000 target 0.9700 (train 0.9500, test 0.8500)"
    assert lines[3] == (
        "step 3,000 | 200 steps/s | 11 s of 60 s (18%) | accuracy 0.8000 best 0.9000 target 0.9700 | "
        "eval in 2:05 min | target in --"
    )


def test_speed_is_that_of_the_latest_seconds():
    progress, stream, clock = started()
    for second, step in ((0, 0), (10, 10), (20, 20), (30, 1020)):
        clock.now_s = float(second)
        progress.update(step, float(second), 1.0)
    assert "| 100 steps/s |" in stream.getvalue().splitlines()[-1]


def test_the_end_is_told_once_and_nothing_follows():
    progress, stream, clock = started()
    progress.evaluation(700, 45.0, accuracy(0.98))
    progress.close(Outcome.OUT_OF_TIME, 705, 46.2)
    ending = stream.getvalue()
    assert ending.endswith(
        "toy_mini: out of time after 705 steps and 46 s of 60 s submission time; accuracy 0.9800 target 0.9700\n"
    )
    clock.now_s = 100.0
    progress.update(701, 46.0, 1.0)
    progress.evaluation(701, 46.0, accuracy(0.98))
    assert stream.getvalue() == ending


def test_a_disabled_progress_is_silent():
    progress, stream, clock = started(enabled=False)
    clock.now_s = 100.0
    progress.update(1, 1.0, 1.0)
    progress.evaluating("train", 0, 10)
    progress.evaluation(1, 1.0, accuracy(0.98))
    progress.close("reached", 2, 2.0)
    assert stream.getvalue() == ""


def test_reaching_the_target_and_running_over_budget_are_said():
    progress, stream, clock = started()
    for evaluation in range(1, 9):
        progress.evaluation(evaluation, float(evaluation), accuracy(0.1 * math.log(evaluation)))
    clock.now_s = 10.0
    progress.update(9, 1_700.0, 1.0)
    assert stream.getvalue().splitlines()[-1].endswith("target in --"), "e^9.7 seconds is beyond what can be told"
    for evaluation in (10, 20, 30, 40, 50):
        progress.evaluation(evaluation, float(evaluation), accuracy(0.2 * math.log(evaluation)))
    clock.now_s = 20.0
    progress.update(9, 50.0, 1.0)
    assert re.search(r"target in \d+ s, over budget$", stream.getvalue().splitlines()[-1])
    progress.evaluation(60, 60.0, accuracy(0.97))
    clock.now_s = 30.0
    progress.update(60, 60.0, 1.0)
    assert stream.getvalue().splitlines()[-1].endswith("target reached")


def test_nan_and_missing_metrics_are_shown_and_survived():
    progress, stream, _ = started()
    progress.evaluation(1, 1.0, accuracy(math.nan))
    progress.evaluation(2, 2.0, accuracy(0.5))
    progress.evaluation(3, 3.0, accuracy(math.nan))
    progress.evaluation(4, 4.0, {})
    lines = stream.getvalue().splitlines()
    assert "accuracy nan" in lines[0]
    assert "accuracy 0.5000 target" in lines[1]
    assert "accuracy nan best 0.5000" in lines[2]


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), ValueError("I/O on closed file")])
def test_a_stream_that_breaks_is_given_up(problem):
    class Broken(io.StringIO):
        def write(self, text):
            raise problem

    progress, _, clock = started(Broken())
    progress.update(1, 1.0, 1.0)
    clock.now_s = 100.0
    progress.update(2, 2.0, 1.0)
    progress.evaluation(2, 2.0, accuracy(0.5))
    progress.close("reached", 2, 2.0)


def test_a_narrow_terminal_gets_a_cut_line():
    master, slave = os.openpty()
    code = """
import os, sys
from algoperf.harness.progress import Progress
from algoperf.testing.toy_workload.definition import MINI
os.get_terminal_size = lambda fd: os.terminal_size((30, 5))
progress = Progress(MINI, 60.0)
progress.update(123456, 1.0, 1.0)
progress.close("reached", 123456, 1.0)
"""
    subprocess.run([sys.executable, "-c", code], stderr=slave, check=True)
    os.close(slave)
    live, rest = os.read(master, 4096).decode().removeprefix("\r\x1b[K").split("\r\x1b[K", 1)
    os.close(master)
    assert len(live) == 29
    assert live.startswith("step 123,456 | ")
    assert "reached after 123,456 steps" in rest


@given(
    slope=st.floats(0.01, 0.5),
    offset=st.floats(-1, 1),
    count=st.integers(4, 40),
    ahead=st.floats(1.01, 9.0),
    direction=st.sampled_from([ACCURACY, LOSS]),
)
def test_a_metric_linear_in_log_time_is_foreseen_despite_outliers(slope, offset, count, ahead, direction):
    sign = 1 if direction is ACCURACY else -1
    history = [(float(t), sign * slope * math.log(t) + offset) for t in range(1, count + 1)]
    expected_s = count * ahead
    target = sign * slope * math.log(expected_s) + offset
    assert time_to_target_s(history, target, direction.better) == pytest.approx(expected_s, rel=1e-6)
    if count >= 24:
        history[-3] = (history[-3][0], history[-3][1] - 50 * sign * slope)
        history[-4] = (history[-4][0], math.nan)
        assert time_to_target_s(history, target, direction.better) == pytest.approx(expected_s, rel=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.1, 0.2, 0.3],
        [0.5] * 10,
        [0.5, 0.4, 0.3, 0.2, 0.1],
        [0.5, 0.2, 0.6, 0.3, 0.55, 0.25, 0.5, 0.3],
        [math.nan] * 8,
        [0.50, 0.501, 0.502, 0.503, 0.504],
    ],
)
def test_no_estimate_where_the_past_gives_none(values):
    history = [(float(t), value) for t, value in enumerate(values, start=1)]
    assert time_to_target_s(history, 0.97, ACCURACY.better) is None
