"""Coverage of the 95 % intervals on simulated boards whose true scores are known.

    python benchmarks/scoring_coverage.py [--boards=200] [--replicates=1000]

A board has five submissions on eight workloads. Times are log-normal around true medians, some runs miss. The true
score is that of the true median study times. Printed for each kind of board: the share of submissions whose true
score lies in its interval, the mean width of the intervals, the share whose true rank lies in its rank set, the share
of pairs whose true difference lies in its interval, and the share of verdicts between two that are wrong.
"""

import argparse
import dataclasses
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Direction, MetricSpec
from scoring.board import competition_ranks, score_times
from scoring.rules import Rules, TuningRule, WorkloadRule
from scoring.statistics.best_of_k import Runs, median_of_best, resample_best
from scoring.statistics.bootstrap import interval, resample_studies
from scoring.statistics.head_to_head import comparisons
from scoring.statistics.ranking import rank_intervals
from scoring.times import TimeTable, median_of_studies

SUBMISSIONS, WORKLOADS = 5, 8
CONFIG_FACTORS = np.array([1.0, 1.1, 1.3, 1.6, 2.5])
TRUTH_DRAWS = 10_001


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of board. `spread`: the last submission is exp(spread) times slower. `misses`: some runs fail."""

    name: str
    studies: int
    noise: float
    spread: float = 0.3
    texture: float = 0.25
    misses: bool = False
    trials: int = 1


KINDS = tuple(
    dataclasses.replace(kind, name=f"{kind.name}, {studies} studies, noise {noise:.0%}", studies=studies, noise=noise)
    for studies in (3, 5)
    for noise in (0.05, 0.15)
    for kind in (
        Kind(name="distinct", studies=0, noise=0),
        Kind(name="all but tied", studies=0, noise=0, spread=0.0, texture=0.02),
        Kind(name="with misses", studies=0, noise=0, misses=True),
        Kind(name="five trials", studies=0, noise=0, trials=5),
    )
)


@dataclass(frozen=True, kw_only=True)
class Tally:
    score: float
    width: float
    rank: float
    pair: float
    wrong_verdicts: float
    best_of_k: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=200, help="simulated boards of each kind")
    parser.add_argument("--replicates", type=int, default=1000, help="bootstrap replicates for each board")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"{'board':<38} score  width   rank   pair  wrong  best-of-k score")
    for kind in KINDS:
        tallies = [simulate_board(kind, [args.seed, k], args.replicates) for k in range(args.boards)]
        mean = {f.name: np.mean([getattr(t, f.name) for t in tallies]) for f in dataclasses.fields(Tally)}
        best = f"{mean['best_of_k']:.3f}" if kind.trials > 1 else ""
        print(
            f"{kind.name:<38} {mean['score']:.3f}  {mean['width']:.3f}  {mean['rank']:.3f}  {mean['pair']:.3f}  "
            f"{mean['wrong_verdicts']:.3f}  {best}",
            flush=True,
        )


def simulate_board(kind: Kind, seed: list[int], replicates: int) -> Tally:
    random = np.random.default_rng(seed)
    rules = _rules()
    speed = np.linspace(0, kind.spread, SUBMISSIONS)[:, None]
    medians = np.exp(speed + kind.texture * random.standard_normal((SUBMISSIONS, WORKLOADS)))
    success = np.ones_like(medians)
    if kind.misses:
        medians[random.random(medians.shape) < 0.1] = np.inf
        success[random.random(medians.shape) < 0.15] = 0.85
    trial_s = _draw(random, medians, success, kind, kind.studies)
    table = _table(rules, trial_s)
    true_median = np.where(np.isfinite(medians), _true_medians(random, medians, success, kind), np.inf)
    truth = score_times(true_median, table.workloads, rules)
    scores = score_times(table.workload_s, table.workloads, rules)
    draws = resample_studies(table, seed=seed[1], replicates=replicates)
    drawn = score_times(draws, table.workloads, rules)
    shape = {"studies": kind.studies, "strata": WORKLOADS}
    low, high = interval(drawn, scores, **shape, bounds=(0.0, 1.0))
    best_rank, worst_rank = rank_intervals(drawn, scores, **shape)
    ranks = competition_ranks(truth)
    compared = comparisons(table, draws, rules)
    true_pairs = [_true_difference(true_median, table, rules, d.a, d.b) for d in compared]
    wrong = [
        d.verdict is not None and d.verdict != (d.a if t > 0 else d.b)
        for d, t in zip(compared, true_pairs, strict=True)
    ]
    return Tally(
        score=np.mean(_inside(truth, low, high)),
        width=np.mean(high - low),
        rank=np.mean((best_rank <= ranks) & (ranks <= worst_rank)),
        pair=np.mean([_inside(t, d.low, d.high) for d, t in zip(compared, true_pairs, strict=True)]),
        wrong_verdicts=np.mean(wrong),
        best_of_k=_best_of_k_coverage(table, rules, truth, kind, seed[1], replicates) if kind.trials > 1 else np.nan,
    )


def _inside(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low - 1e-9 <= value) & (value <= high + 1e-9)


def _draw(
    random: np.random.Generator, medians: np.ndarray, success: np.ndarray, kind: Kind, studies: int
) -> np.ndarray:
    """Times [n, w, S, T]: each trial is one configuration, slower than the best by its factor."""
    shape = (*medians.shape, studies, kind.trials)
    times = (
        medians[..., None, None] * CONFIG_FACTORS[: kind.trials] * np.exp(kind.noise * random.standard_normal(shape))
    )
    return np.where(random.random(shape) < success[..., None, None], times, np.inf)


def _true_medians(random: np.random.Generator, medians: np.ndarray, success: np.ndarray, kind: Kind) -> np.ndarray:
    """Medians [n, w] of the law of a study's time."""
    if kind.trials == 1 and not kind.misses:
        return medians
    result = np.empty_like(medians)
    for at in np.ndindex(medians.shape):
        one = (medians[at].reshape(1, 1), success[at].reshape(1, 1))
        result[at] = np.median(_draw(random, *one, kind, TRUTH_DRAWS).min(axis=-1))
    return result


def _true_difference(medians: np.ndarray, table: TimeTable, rules: Rules, a: str, b: str) -> float:
    both = [table.submissions.index(a), table.submissions.index(b)]
    first, second = score_times(medians[both], table.workloads, rules)
    return float(first - second)


def _best_of_k_coverage(
    table: TimeTable, rules: Rules, truth: np.ndarray, kind: Kind, seed: int, replicates: int
) -> float:
    runs = [[Runs(values=np.sort(cell.T, axis=1), fixed=True) for cell in row] for row in table.trial_s]
    medians = np.array([[median_of_best(r, kind.trials) for r in row] for row in runs])
    draws = np.empty((replicates, SUBMISSIONS, WORKLOADS))
    for i, j in np.ndindex(SUBMISSIONS, WORKLOADS):
        names = (table.submissions[i], table.workloads[j])
        draws[:, i, j] = resample_best(runs[i][j], kind.trials, seed=seed, names=names, replicates=replicates)
    estimate = score_times(medians, table.workloads, rules)
    drawn = score_times(draws, table.workloads, rules)
    low, high = interval(drawn, estimate, studies=kind.studies, strata=WORKLOADS, bounds=(0.0, 1.0))
    return float(np.mean(_inside(truth, low, high)))


def _table(rules: Rules, trial_s: np.ndarray) -> TimeTable:
    study_s = trial_s.min(axis=-1)
    return TimeTable(
        submissions=tuple(f"s{i}" for i in range(len(trial_s))),
        workloads=rules.base_workloads,
        studies=tuple(range(trial_s.shape[2])),
        trial_numbers=tuple(range(1, trial_s.shape[3] + 1)),
        trial_s=trial_s,
        present=np.ones(trial_s.shape, bool),
        study_s=study_s,
        workload_s=median_of_studies(study_s),
        evaluations=np.zeros(trial_s.shape),
    )


def _rules() -> Rules:
    names = [f"w{j}" for j in range(WORKLOADS)]
    metric = MetricSpec(name="accuracy", direction=Direction.MAXIMIZE)
    workloads = {
        name: WorkloadRule(
            name=name, base=name, metric=metric, validation_target=1.0, test_target=None, max_runtime_s=1e9, step_hint=1
        )
        for name in names
    }
    tuning = {
        kind: TuningRule(name=kind, studies=3, trials_per_study=5, budget_factor=1.0) for kind in ("external", "self")
    }
    return Rules(
        name="simulated",
        description="",
        base_workloads=tuple(names),
        held_out={},
        workloads=workloads,
        tuning=tuning,
    )


if __name__ == "__main__":
    main()
