"""Shows a person how a run is going: one live line in a terminal, plain lines elsewhere."""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import combinations
from statistics import median
from typing import TextIO

from algoperf.definition import Split, WorkloadDefinition
from algoperf.records.best import best_of
from algoperf.records.columns import metric_column, split_name

MonotonicFn = Callable[[], float]  # seconds that never go back

_TERMINAL_PERIOD_S = 0.2
_PLAIN_PERIOD_S = 10.0
_SPEED_WINDOW_S = 10.0
_CLEAR_LINE = "\r\x1b[K"
_DEFAULT_WIDTH = 80

# An estimate is shown only where the past supports it: evaluations it needs, the share of pairs of evaluations that
# must point towards the target, and how many times the time spent so far it may reach ahead.
_MIN_EVALUATIONS = 4
_MAX_EVALUATIONS = 24
_MIN_AGREEMENT = 0.75
_MAX_REACH = 10.0


class Progress:
    """Prints progress of one trial; a stream that cannot be written is given up, never an error.

    Args:
      definition: the workload; its target and metric are shown.
      budget_s: seconds of submission time that the run may use.
      stream: where to print.
      enabled: False prints nothing (ranks other than 0).
      clock: monotonic seconds, for the refresh alone.
    """

    def __init__(
        self,
        definition: WorkloadDefinition,
        budget_s: float,
        *,
        stream: TextIO | None = None,
        enabled: bool = True,
        clock: MonotonicFn = time.monotonic,
    ) -> None:
        self._metric = definition.metric
        self._target = definition.validation_target
        self._name = definition.name
        self._budget_s = budget_s
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = enabled and _is_terminal(self._stream)
        self._period_s = _TERMINAL_PERIOD_S if self._is_terminal else _PLAIN_PERIOD_S
        self._due_s = clock() if enabled else math.inf
        self._enabled = enabled
        self._speed = _Speed()
        self._history: list[tuple[float, float]] = []
        self._last: float | None = None
        self._best: float | None = None
        self._is_reached = False
        self._eta_s: float | None = None
        self._evaluation_start_s: float | None = None
        self._evaluation_due_s = math.inf

    def update(self, step: int, submission_time_s: float, seconds_to_next_evaluation: float) -> None:
        """Called after every step; does nothing until the line is due."""
        now_s = self._clock()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._period_s
        self._speed.add(step, submission_time_s)
        self._show(self._line(step, submission_time_s, seconds_to_next_evaluation))

    def evaluating(self, what: str, num_done: int, num_examples: int) -> None:
        """Called during an evaluation, while the clock is paused: at the start of each split and after its batches.

        A terminal shows every start at once, since the first batch may compile for long; lines that stay are written
        of long evaluations only.
        """
        if not self._enabled:
            return
        now_s = self._clock()
        if self._evaluation_start_s is None:
            self._evaluation_start_s, self._evaluation_due_s = now_s, now_s + self._period_s
        starts_split = self._is_terminal and num_done == 0
        if now_s < self._evaluation_due_s and not starts_split:
            return
        self._evaluation_due_s = now_s + self._period_s
        self._show(
            f"evaluating {what}: {num_done:,} of {num_examples:,} examples | "
            f"{_duration(now_s - self._evaluation_start_s)} | {self._result()}"
        )

    def evaluation(self, step: int, submission_time_s: float, metrics: Mapping[str, float]) -> None:
        """Prints a line that stays, and takes the result into account for the estimate."""
        if not self._enabled:
            return
        self._evaluation_start_s = None
        name = self._metric.name
        value = metrics.get(metric_column(Split.VALIDATION, name))
        if value is not None:
            self._history.append((submission_time_s, value))
            values = [value for _, value in self._history]
            best = best_of(values, self._metric, self._target)
            self._last, self._best = value, value if best.index is None else values[best.index]
            self._is_reached = best.first_reached is not None
            self._eta_s = time_to_target_s(self._history, self._target, self._metric.better)
        shown = [
            f"{title} {_number(metrics[key])}"
            for title, key in (
                (split_name(split), metric_column(split, name)) for split in (Split.EVAL_TRAIN, Split.TEST)
            )
            if key in metrics
        ]
        self.note(
            f"{_duration(submission_time_s)} step {step:,}: {self._result()}"
            + (f" ({', '.join(shown)})" if shown else "")
        )

    def note(self, text: str) -> None:
        """Prints a line that stays, above the live one."""
        if self._enabled:
            self._print(f"{_CLEAR_LINE if self._is_terminal else ''}{text}\n")

    def close(self, outcome: object, step: int, submission_time_s: float) -> None:
        """Prints how the run ended; nothing is printed afterwards."""
        self.note(
            f"{self._name}: {str(outcome).replace('_', ' ')} after {step:,} steps and {_duration(submission_time_s)} "
            f"of {_duration(self._budget_s)} submission time; {self._result()}"
        )
        self._enabled, self._due_s = False, math.inf

    def _show(self, line: str) -> None:
        """Replaces the live line of a terminal; a line of its own elsewhere."""
        if self._is_terminal:
            self._print(f"{_CLEAR_LINE}{line[: _width(self._stream) - 1]}")
        else:
            self._print(f"{line}\n")

    def _line(self, step: int, submission_time_s: float, seconds_to_next_evaluation: float) -> str:
        speed = self._speed.steps_per_s
        share = submission_time_s / self._budget_s
        return " | ".join(
            [
                f"step {step:,}",
                f"{'--' if speed is None else _number(speed, 3)} steps/s",
                f"{_duration(submission_time_s)} of {_duration(self._budget_s)} ({share:.0%})",
                self._result(),
                f"eval in {_duration(seconds_to_next_evaluation)}",
                f"target {self._remaining(submission_time_s)}",
            ]
        )

    def _result(self) -> str:
        if self._last is None or self._best is None:
            return f"{self._metric.name} -- target {_number(self._target)}"
        best = "" if self._best == self._last else f" best {_number(self._best)}"
        return f"{self._metric.name} {_number(self._last)}{best} target {_number(self._target)}"

    def _remaining(self, submission_time_s: float) -> str:
        if self._is_reached:
            return "reached"
        if self._eta_s is None:
            return "in --"
        over = ", over budget" if self._eta_s > self._budget_s else ""
        return f"in {_duration(self._eta_s - submission_time_s)}{over}"

    def _print(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # closed, a broken pipe or a full disk
            self._enabled, self._due_s = False, math.inf


class _Speed:
    """Steps per second of submission time, over the latest seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, step: int, submission_time_s: float) -> None:
        samples = self._samples
        samples.append((submission_time_s, step))
        while len(samples) > 2 and submission_time_s - samples[1][0] >= _SPEED_WINDOW_S:
            samples.popleft()

    @property
    def steps_per_s(self) -> float | None:
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None


def time_to_target_s(
    history: list[tuple[float, float]], target: float, better: Callable[[float, float], bool]
) -> float | None:
    """Estimates at which time a metric meets its target, or None where no estimate is credible.

    The metric is taken as linear in the logarithm of time over the later half of the evaluations; slope and offset
    are medians (Theil and Sen), so that single outliers do not matter.

    Args:
      history: (seconds, value) of each evaluation, in order.
      target: value to meet.
      better: whether the first value is strictly better than the second.
    """
    points = [(math.log(t), value) for t, value in history if t > 0 and math.isfinite(value)]
    points = points[-max(_MIN_EVALUATIONS, min(_MAX_EVALUATIONS, len(points) // 2)) :]
    if len(points) < _MIN_EVALUATIONS:
        return None
    slopes = [(b - a) / (y - x) for (x, a), (y, b) in combinations(points, 2) if y > x]
    if not slopes:
        return None
    slope = median(slopes)
    towards = sum(better(s, 0.0) for s in slopes) / len(slopes)
    if not better(slope, 0.0) or towards < _MIN_AGREEMENT:
        return None
    offset = median(value - slope * x for x, value in points)
    log_time, now = (target - offset) / slope, points[-1][0]
    if log_time > now + math.log(_MAX_REACH):
        return None
    return math.exp(max(log_time, now))


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _DEFAULT_WIDTH
    except (OSError, ValueError):
        return _DEFAULT_WIDTH


def _number(value: float, digits: int = 4) -> str:
    """Up to `digits` significant digits, and no fewer than the integer part needs."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "--"
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    if whole < 100 * 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole // 86_400} days"
