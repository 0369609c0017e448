"""What a comparison says: a sentence, a table for each mini, and the same as data."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.comparison import betting
from algoperf.comparison.betting import Interval, Verdict
from algoperf.comparison.pairs import MAX_RATIO, Pair

_NEAR = 0.02  # a logarithm of a ratio that is so near to a bound is shown as the bound


@dataclass(frozen=True, kw_only=True)
class WorkloadRow:
    """The pairs of one workload.

    Attributes:
      workload: its name.
      pairs: how many.
      steps, steps_against: median steps to target; NaN where a median run missed it.
      cost, cost_low, cost_high: of a step of the first, in steps of the other.
      ratio: median of the pairs' ratios of times, first over other; infinite where the first missed.
      interval: of 95 % for the mean ratio, cut to [1 / MAX_RATIO, MAX_RATIO]; of this workload alone, not adjusted.
    """

    workload: str
    pairs: int
    steps: float
    steps_against: float
    cost: float
    cost_low: float
    cost_high: float
    ratio: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison.

    Attributes:
      mine, against: labels of the two.
      framework: of both.
      verdict: of the first.
      reason: why it ended, a phrase.
      pairs: in the order in which they ran.
      workloads: what was to be compared.
      folder: of the logs.
      report: the HTML report of both; None where none was written.
    """

    mine: str
    against: str
    framework: str
    verdict: Verdict
    reason: str
    pairs: Sequence[Pair]
    workloads: Sequence[str]
    folder: Path
    report: Path | None = None

    @property
    def ratio(self) -> float:
        """Geometric mean of the pairs' ratios of times, first over other, each cut to [1 / MAX_RATIO, MAX_RATIO]."""
        low, high = outcome_bounds(self.pairs)
        return _ratio(float(np.mean((low + high) / 2))) if len(self.pairs) else math.nan

    @property
    def interval(self) -> Interval:
        """Of 95 % for that mean, valid whenever the comparison ended."""
        return _ratios(betting.interval(*outcome_bounds(self.pairs)))

    @property
    def rows(self) -> list[WorkloadRow]:
        by_workload: Mapping[str, list[Pair]] = {
            name: [pair for pair in self.pairs if pair.workload == name] for name in self.workloads
        }
        return [_row(name, pairs) for name, pairs in by_workload.items() if pairs]

    @property
    def sentence(self) -> str:
        low, high = self.interval
        number = "1 pair" if len(self.pairs) == 1 else f"{len(self.pairs)} pairs"
        seen = f"{number} of runs on {len(self.rows)} of {len(self.workloads)} workloads"
        if not self.pairs:
            return f"Nothing is known of {self.mine} and {self.against}: {self.reason}."
        if self.verdict is Verdict.UNDECIDED:
            return (
                f"Undecided between {self.mine} and {self.against} after {seen} ({self.reason}): its time to target is "
                f"{_shown(self.ratio)} times the other's, {low:.2f} to {high:.2f}."
            )
        return (
            f"{self.mine} is {self.verdict} than {self.against}: its time to target is {_shown(self.ratio)} times the "
            f"other's, {low:.2f} to {high:.2f}, over {seen} (error at most 5 %, valid at any time)."
        )

    def text(self) -> str:
        """The sentence, the table and what its figures are."""
        head = (
            f"{'workload':30s} {'pairs':>5s} {'steps':>7s} {'against':>7s} {'step cost':22s} {'time':>6s}  "
            "95 % interval"
        )
        return "\n".join(
            [
                self.sentence,
                "",
                head,
                *map(_line, self.rows),
                "",
                f"time: median of {self.mine} / {self.against}, steps x step cost; below 1 is faster. Intervals are of "
                f"the mean of",
                f"ratios cut to {1 / MAX_RATIO:.2f} to {MAX_RATIO:.2f}, and not adjusted for the number of workloads.",
                f"report: {self.report or 'not written'}; logs: {self.folder}",
            ]
        )


def outcome_bounds(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) outcomes of pairs, float [n] each."""
    bounds = np.array([pair.outcomes for pair in pairs], float).reshape(-1, 2)
    return bounds[:, 0], bounds[:, 1]


def _row(workload: str, pairs: Sequence[Pair]) -> WorkloadRow:
    cost = pairs[-1].cost
    return WorkloadRow(
        workload=workload,
        pairs=len(pairs),
        steps=_median([pair.mine.steps for pair in pairs]),
        steps_against=_median([pair.against.steps for pair in pairs]),
        cost=cost.ratio,
        cost_low=cost.low,
        cost_high=cost.high,
        ratio=statistics.median([math.inf if math.isnan(pair.ratio) else pair.ratio for pair in pairs]),
        interval=_ratios(betting.interval(*outcome_bounds(pairs))),
    )


def _median(steps: Sequence[int | None]) -> float:
    middle = statistics.median([math.inf if count is None else count for count in steps])
    return middle if middle < math.inf else math.nan


def _ratio(outcome: float) -> float:
    return float(MAX_RATIO**-outcome)


def _ratios(outcomes: Interval) -> Interval:
    return Interval(_ratio(outcomes.high), _ratio(outcomes.low))


def _shown(ratio: float) -> str:
    """A mean of cut ratios, which says "at least" or "at most" where nearly all were cut."""
    at_bound = abs(math.log(ratio)) > math.log(MAX_RATIO) - _NEAR
    return f"at {'least' if ratio > 1 else 'most'} {ratio:.2f}" if at_bound else f"{ratio:.2f}"


def _line(row: WorkloadRow) -> str:
    steps, against = (("missed" if math.isnan(n) else f"{n:.0f}") for n in (row.steps, row.steps_against))
    time = f"{row.ratio:.2f}" if 0 < row.ratio < math.inf else "-"
    low = "" if math.log(row.interval.low) < _NEAR - math.log(MAX_RATIO) else f"{row.interval.low:.2f}"
    high = "" if math.log(row.interval.high) > math.log(MAX_RATIO) - _NEAR else f"{row.interval.high:.2f}"
    known = " to ".join(filter(None, (low, high))) if low and high else f"above {low}" if low else f"below {high}"
    cost = f"{row.cost:.2f} ({row.cost_low:.2f} to {row.cost_high:.2f})"
    interval = known if low or high else "open"
    return f"{row.workload:30s} {row.pairs:5d} {steps:>7s} {against:>7s} {cost:22s} {time:>6s}  {interval}"
