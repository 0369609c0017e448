"""Runs pairs in an order that learns most first, and stops when the difference is decided or cannot be in time."""

import dataclasses
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from algoperf.comparison import betting
from algoperf.comparison.betting import Verdict
from algoperf.comparison.entrants import find_entrant
from algoperf.comparison.pairs import MAX_RATIO, Pair
from algoperf.comparison.result import Comparison, outcome_bounds
from algoperf.comparison.runs import Runs
from algoperf.comparison.step_cost import PERIOD
from algoperf.definition import JAX, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.reporting import Report, report_to_stderr

HOURS = 1.5
FIRST_IMPRESSION_HOURS = 1 / 6
_FIRST_IMPRESSION_WORKLOADS = 2
_STEP_COST_S = 10.0


class ComparisonError(UserError):
    """The request makes no sense; one line that says what would."""


class PairSource(Protocol):
    """Where pairs come from."""

    def finished_pair(self, workload: str, study: int) -> Pair | None: ...

    def run_pair(self, workload: str, study: int) -> Pair: ...

    def expected_s(self, definition: WorkloadDefinition) -> float: ...


def compare(
    mine: str,
    *,
    against: str = "nadamw",
    hours: float = HOURS,
    framework: str = JAX.name,
    workloads: Sequence[str] | None = None,
    first_impression: bool = False,
    experiment_dir: Path | str = "experiments/compare",
    data_dir: Path | str = "~/data",
    step_cost_period: int = PERIOD,
    baseline_logs: Path | str | None = None,
    write_report: bool = True,
    registry: Registry = REGISTRY,
    report: Report = report_to_stderr,
) -> Comparison:
    """Compares the times to target of two training algorithms on the minis, under the self-tuning rules.

    Args:
      mine, against: a submission's file or module, a reference algorithm's name, or `module:function` of a plain
        optimizer; see `algoperf.comparison.entrants.find_entrant`.
      hours: wall time that may be spent from now.
      framework: of both.
      workloads: names; None means the minis, or the two with the smallest budgets for a first impression.
      first_impression: two workloads, at most ten minutes.
      experiment_dir: of runs; what is finished there is not run again.
      data_dir: prepared data; those of minis are generated there.
      step_cost_period: steps of a cycle of the step-cost measurement; see `algoperf.step_cost`.
      baseline_logs: logs of a board; finished runs there of `against`, of the same definitions and seeds,
        are taken.
      write_report: score both and write the HTML report.
      report: shown one line at a time.

    Raises:
      UserError: an entrant cannot be used, or a run failed.
    """
    if not hours > 0:
        raise ComparisonError(f"hours must be above 0, got {hours}")
    if baseline_logs is not None and not Path(baseline_logs).expanduser().is_dir():
        raise ComparisonError(f"baseline_logs must be a folder of logs of a board, got {baseline_logs}")
    definitions = sorted(
        (registry.get(name) for name in workloads or suites()["mini"].workloads),
        key=lambda definition: definition.budget.max_runtime_s,
    )
    if first_impression:
        definitions = definitions[:_FIRST_IMPRESSION_WORKLOADS]
        hours = min(hours, FIRST_IMPRESSION_HOURS)
    deadline = time.monotonic() + 3600 * hours
    folder = Path(experiment_dir).expanduser().resolve() / framework
    entrants = [find_entrant(text, framework, folder / "submissions") for text in (mine, against)]
    runs = Runs(
        mine=entrants[0],
        against=entrants[1],
        framework=framework,
        folder=folder / "logs",
        data_dir=Path(data_dir).expanduser(),
        step_cost_s=_STEP_COST_S,
        step_cost_period=step_cost_period,
        report=report,
        registry=registry,
        baseline_logs=None if baseline_logs is None else Path(baseline_logs).expanduser(),
    )
    pairs, result, reason = collect(runs, definitions, deadline, report, ends_when_hopeless=not first_impression)
    comparison = Comparison(
        mine=entrants[0].label,
        against=entrants[1].label,
        framework=framework,
        verdict=result,
        reason=reason,
        pairs=tuple(pairs),
        workloads=tuple(definition.name for definition in definitions),
        folder=runs.folder,
    )
    if not (write_report and pairs):
        return comparison
    return dataclasses.replace(comparison, report=write_score_report(runs, folder, comparison.workloads))


def collect(
    source: PairSource,
    definitions: Sequence[WorkloadDefinition],
    deadline: float,
    report: Report,
    *,
    ends_when_hopeless: bool = True,
    now: Callable[[], float] = time.monotonic,
) -> tuple[list[Pair], Verdict, str]:
    """Takes pairs until there is a verdict or none can be expected by `deadline`; returns them, it and the reason.

    Nothing is known in advance of which workload tells the two apart, so that the expected information of each is the
    same: a round has every workload once, the pair that takes the least time first, then the next seed follows. The
    order is fixed in advance, so that a comparison that is continued looks at the same pairs in the same order.
    """
    pairs: list[Pair] = []
    spent_s: dict[str, list[float]] = {}

    def expected_s(definition: WorkloadDefinition) -> float:
        measured = spent_s.get(definition.name)
        return statistics.mean(measured) if measured else source.expected_s(definition)

    order = sorted(definitions, key=source.expected_s)
    for study, definition in ((study, definition) for study in itertools.count() for definition in order):
        pair = source.finished_pair(definition.name, study)
        if pair is None:
            left_s = deadline - now()
            if left_s < expected_s(definition):
                return pairs, Verdict.UNDECIDED, "the time is up"
            more = max(1, int(left_s / statistics.mean(map(expected_s, definitions))))
            if ends_when_hopeless and (reason := _hopeless(pairs, more)):
                return pairs, Verdict.UNDECIDED, reason
            started = now()
            pair = source.run_pair(definition.name, study)
            spent_s.setdefault(definition.name, []).append(now() - started)
        pairs.append(pair)
        result = betting.verdict(*outcome_bounds(pairs))
        report(_progress(pairs, result))
        if result is not Verdict.UNDECIDED:
            return pairs, result, "decided"
    raise AssertionError("rounds have no end")


def _progress(pairs: Sequence[Pair], result: Verdict) -> str:
    """A line on the newest pair and what all of them say."""
    low, high = betting.interval(*outcome_bounds(pairs))
    newest = pairs[-1]
    return (
        f"{newest.workload} seed {newest.study}: {newest.summary}; pair {len(pairs)}, {result}, "
        f"mean ratio of times {MAX_RATIO**-high:.2f} to {MAX_RATIO**-low:.2f}"
    )


def _hopeless(pairs: Sequence[Pair], more: int) -> str | None:
    """Why no verdict can be expected of so many more pairs; None where it can."""
    bounds = outcome_bounds(pairs)
    if not betting.can_be_decided(*bounds, more):
        return f"the time that is left is enough for {more} more pairs, which would not decide if all agreed"
    chance = betting.chance_of_verdict(*bounds, more) if len(pairs) >= betting.FORECAST_PAIRS else 1.0
    is_hopeless = chance < betting.HOPELESS
    return f"{more} more pairs like these decide with a chance of {chance:.0%}" if is_hopeless else None


def write_score_report(runs: Runs, folder: Path, workloads: Sequence[str]) -> Path | None:
    """Scores both entrants by the rules of the minis; None where that is not possible, which is reported."""
    rules = suites()["mini"]
    if not set(workloads) <= set(rules.workloads):
        runs.report(f"no report: the rule set {rules.rules} has no {', '.join(set(workloads) - set(rules.workloads))}")
        return None
    output = folder / "reports" / runs.mine_folder
    command = [
        sys.executable,
        "-m",
        "scoring.score_submissions",
        f"--submission_directory={runs.folder}",
        f"--include_submissions={runs.mine_folder},{runs.against_folder}",
        f"--reference={runs.against_folder}",
        f"--rules={rules.rules}",
        f"--output_dir={output}",
    ]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode and not (output / "report.html").is_file():
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        runs.report(f"no report: {last.removeprefix('error: ')}")
        return None
    return output / "report.html"
