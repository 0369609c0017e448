"""Scores of a board with their spread over studies: from logs, from `results.json`, and published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import UserError
from scoring.board import make_board, workload_scores
from scoring.clocks import Clock, in_clock
from scoring.ladder import FIRST_REACHED, rung_tables
from scoring.logs import LogTree, read_logs
from scoring.published import PublishedBoard
from scoring.rules import Rules, TuningRule, load_rules
from scoring.statistics.bootstrap import resample_rungs
from scoring.statistics.ranking import separate_rungs
from scoring.step_costs import ProjectedCosts
from scoring.times import Mode, TimeTable, median_of_studies, rules_times


class AgreementError(UserError):
    """Two boards cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """A score of each of n submissions.

    Attributes:
      name: which score and clock, for tables.
      scores: [n].
      draws: [r, n], on boards whose studies are drawn again; None where the spread over studies is not known.
      better: [n, n], whether the row is better than the column beyond doubt; None where that is not known.
    """

    name: str
    submissions: tuple[str, ...]
    scores: np.ndarray
    draws: np.ndarray | None = None
    better: np.ndarray | None = None

    def of(self, names: Sequence[str]) -> "ScoreTable":
        """The rows of `names`, in that order."""
        at = [self.submissions.index(name) for name in names]
        return replace(
            self,
            submissions=tuple(names),
            scores=self.scores[at],
            draws=None if self.draws is None else self.draws[:, at],
            better=None if self.better is None else self.better[np.ix_(at, at)],
        )


def score_table(name: str, rungs: Sequence[TimeTable], rules: Rules, *, seed: int, replicates: int) -> ScoreTable:
    """The mean score over tables of times, with draws and verdicts."""

    def shares(workload_s: np.ndarray) -> np.ndarray:
        means: np.ndarray = workload_scores(workload_s, rungs[-1].workloads, rules).mean(axis=-3)
        return means

    drawn = shares(resample_rungs(rungs, seed=seed, replicates=replicates))
    return ScoreTable(
        name=name,
        submissions=rungs[-1].submissions,
        scores=shares(np.stack([table.workload_s for table in rungs])).mean(axis=-1),
        draws=drawn.mean(axis=-1),
        better=separate_rungs(rungs, drawn, rules, seed=seed).better,
    )


def tables_of_logs(
    tree: LogTree,
    rules: Rules,
    tuning: TuningRule,
    *,
    seed: int,
    replicates: int,
    costs: ProjectedCosts | None = None,
) -> list[ScoreTable]:
    """Scores by time, by steps and, with `costs`, projected, at the official target and on the ladder if there is one.

    Time is that of the board: reference steps where every run has recorded them, else seconds.

    Raises:
      LogsError: a run lacks global steps.
    """
    tables = []
    clocks: list[tuple[str, Clock | None, ProjectedCosts | None]] = [("time", None, None), ("steps", Clock.STEPS, None)]
    if costs is not None:
        clocks.append(("projected", Clock.PROJECTED, costs))
    for name, clock, of_steps in clocks:
        logs, converted = in_clock(tree, rules, tuning, clock, of_steps)
        board = make_board(logs, converted, tuning, Mode.RULES)
        ladders: dict[str, tuple[TimeTable, ...]] = {"target": (board.times,)}
        if rules.has_ladder:
            ladders["ladder"] = rung_tables(logs, board, FIRST_REACHED)
        tables += [
            score_table(f"{name}, {score}", rungs, converted, seed=seed, replicates=replicates)
            for score, rungs in ladders.items()
        ]
    return tables


def tables_of_results(results: Mapping[str, Any], *, seed: int, replicates: int) -> list[ScoreTable]:
    """Scores from `results.json`, by the one clock that it was scored by.

    Raises:
      AgreementError: it is not that of a board with statistics.
    """
    try:
        rules = load_rules(results["rules"]["name"])
        clock = results["rules"].get("clock")
        clock = clock if clock in (Clock.STEPS, Clock.PROJECTED) else "time"
        names, workloads = tuple(results["submissions"]), rules.scored_workloads
        study_times = {(row["submission"], row["workload"]): row["study_times_s"] for row in results["results"]}
        official = _times([[study_times[name, w] for w in workloads] for name in names])
        tables: dict[str, tuple[TimeTable, ...]] = {f"{clock}, target": (_table(names, workloads, official),)}
        if results.get("ladder"):
            ladder = results["ladder"]
            columns = [ladder["workloads"].index(w) for w in workloads]
            tables[f"{clock}, ladder"] = tuple(
                _table(names, workloads, _times(rung)[:, columns]) for rung in ladder["study_times_s"]
            )
    except (KeyError, TypeError, ValueError) as error:
        raise AgreementError(f"expected results.json of a board with statistics, got {error!r}") from error
    return [score_table(name, rungs, rules, seed=seed, replicates=replicates) for name, rungs in tables.items()]


def _times(values: Any) -> np.ndarray:
    times = np.array(values, float)  # null is NaN
    return np.where(np.isnan(times), np.inf, times)


def _table(submissions: tuple[str, ...], workloads: tuple[str, ...], study_s: np.ndarray) -> TimeTable:
    return TimeTable(
        submissions=submissions,
        workloads=workloads,
        studies=tuple(range(study_s.shape[-1])),
        trial_numbers=(1,),
        trial_s=study_s[..., None],
        present=np.isfinite(study_s)[..., None],
        study_s=study_s,
        workload_s=median_of_studies(study_s),
        evaluations=np.full((*study_s.shape, 1), np.nan),
    )


def published_tables(board: PublishedBoard, logs: Path | None, *, seed: int, replicates: int) -> list[ScoreTable]:
    """Published scores by time, and by steps where there are any; drawn studies of the first, where `logs` are given.

    Raises:
      AgreementError: the logs lack a submission of the board.
    """
    names = board.submissions
    table = ScoreTable(name="time", submissions=names, scores=np.array([board.scores[n] for n in names]))
    if logs is not None:
        rules = load_rules(board.rules)
        times = rules_times(read_logs(logs, rules.workloads), rules, rules.tuning[board.tuning])
        missing = sorted(set(names) - set(times.submissions))
        if missing:
            raise AgreementError(f"{logs}: expected logs of all of {board.name}, got none of {', '.join(missing)}")
        drawn = score_table("time", (times,), rules, seed=seed, replicates=replicates).of(names)
        table = replace(table, draws=drawn.draws)
    tables = [table]
    if set(board.scores_by_steps) == set(names):
        tables.append(ScoreTable(name="steps", submissions=names, scores=_by_steps(board)))
    return tables


def _by_steps(board: PublishedBoard) -> np.ndarray:
    return np.array([board.scores_by_steps[name] for name in board.submissions])
