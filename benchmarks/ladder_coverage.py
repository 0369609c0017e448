"""What the ladder of targets is worth, on simulated runs whose truth is known. Prints Markdown tables.

    python benchmarks/ladder_coverage.py [--table=crossings|claims] [--boards=200] [--seed=0]

A run's value approaches the target like an exponential: the share of the way that is left is 1 at the start and 0 at
the time to target. Evaluations see it once a period, with noise in the value.

- crossings: bias and spread of the logarithm of the ratio of two submissions' times to a rung, by how the time between
  two evaluations is taken, and width of the interval of a ladder score.
- claims: share of boards on which the ladder says anything though nobody is better, and with somebody better the pairs
  that the official target and the ladder resolve, and the boards with a wrong claim.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.definition import Direction, MetricSpec
from scoring.board import Board, make_board, workload_scores
from scoring.ladder import Passage, passed_at, rung_shares, rung_tables
from scoring.logs import LogStatus, LogTree, Trial
from scoring.rules import Rules, TuningRule, WorkloadRule
from scoring.statistics.bootstrap import resample_rungs, score_intervals
from scoring.statistics.ranking import separate_rungs
from scoring.times import Mode, TimeTable, rules_times

LEFT = np.array([0.2, 0.1, 0.05, 0.025])
PERIOD_S, MEDIAN_S, BUDGET_S = 4.0, 45.0, 150.0
DEALS = 1_999
_BEYOND = 0.02  # the curve tends to a value that is better than the target by this share of the way
_DECAY = np.log((1 + _BEYOND) / _BEYOND)
METRIC = MetricSpec(name="accuracy", direction=Direction.MAXIMIZE)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of board.

    Attributes:
      noise: standard deviation over studies of the logarithm of a time to target.
      value_noise: standard deviation of an evaluated value, as a share of the way.
      spread: the last submission is exp(spread) times slower than the first.
      texture: standard deviation of what a submission gains or loses on one workload.
      bend: on half of the workloads, alternating between submissions, a run is exp(bend) times slower to the easiest
        rung, on the others faster, and as fast to the target.
      noisier: the last submission's noise is exp(2 * noisier) times the first's.
      misses: chance that a run stays below the hardest two rungs.
    """

    name: str
    entrants: int = 5
    workloads: int = 8
    studies: int = 3
    noise: float = 0.15
    value_noise: float = 0.005
    spread: float = 0.0
    texture: float = 0.0
    bend: float = 0.0
    noisier: float = 0.0
    misses: float = 0.0


TIED = (
    Kind(name="all tied"),
    Kind(name="all tied, noisy values", value_noise=0.02),
    Kind(name="all tied, misses", misses=0.2),
    Kind(name="equal scores, curves that cross", bend=0.3),
    Kind(name="equal scores, noise 1 to 2.7", noisier=0.5),
)
DISTINCT = (Kind(name="distinct", spread=0.3, texture=0.25), Kind(name="distinct, misses", spread=0.3, misses=0.2))


def left_at(time_s: np.ndarray, to_target_s: float) -> np.ndarray:
    return (1 + _BEYOND) * np.exp(-_DECAY * time_s / to_target_s) - _BEYOND


def time_to(left: float | np.ndarray, to_target_s: float) -> float | np.ndarray:
    return to_target_s * np.log((1 + _BEYOND) / (left + _BEYOND)) / _DECAY


def simulated_trees(kind: Kind, boards: int, seed: int) -> Iterator[tuple[LogTree, np.ndarray]]:
    """Logs of each board, and its true median times to target [n, w]."""
    random = np.random.default_rng([seed, kind.entrants, kind.workloads, kind.studies])
    noise = kind.noise * np.exp(np.linspace(-kind.noisier, kind.noisier, kind.entrants))
    for _ in range(boards):
        shape = (kind.entrants, kind.workloads)
        speed = np.linspace(0, kind.spread, kind.entrants)[:, None] + kind.texture * random.standard_normal(shape)
        medians = MEDIAN_S * np.exp(speed)
        trials = []
        for i, w, study in np.ndindex(*shape, kind.studies):
            to_target_s = medians[i, w] * np.exp(noise[i] * random.standard_normal())
            bend = kind.bend * (1 if (i + w) % 2 else -1)
            ceiling = random.random() < kind.misses
            trials.append(_trial(random, kind, (i, w, study), to_target_s, bend, ceiling))
        names = tuple(f"s{i}" for i in range(kind.entrants))
        yield LogTree(root=Path(), submissions=names, trials=tuple(trials), findings=()), medians


def _trial(
    random: np.random.Generator, kind: Kind, at: tuple[int, int, int], to_target_s: float, bend: float, ceiling: bool
) -> Trial:
    time_s = np.arange(PERIOD_S, BUDGET_S, PERIOD_S)
    left = left_at(time_s, to_target_s)
    if bend:  # stretches the time to each share that is left, not that to the target
        grid = np.linspace(1.0, -_BEYOND * 0.99, 400)
        left = np.interp(time_s, time_to(grid, to_target_s) * np.exp(bend * np.clip(grid / LEFT[0], 0, 1)), grid)
    if ceiling:
        left = np.maximum(left, 0.035)
    values = 1 - left + kind.value_noise * random.standard_normal(len(time_s))
    hit = np.flatnonzero(values >= 1)
    end = hit[0] + 1 if len(hit) else len(time_s)
    i, w, study = at
    empty = np.empty(0)
    return Trial(
        submission=f"s{i}",
        study=study,
        workload=f"w{w}",
        framework="jax",
        number=1,
        path=Path(),
        status=LogStatus.READ,
        time_s=time_s[:end],
        validation=values[:end],
        **dict.fromkeys(("step", "test", "eval_time_s", "logging_time_s", "wall_s"), empty),
        raw_time_s=time_s[:end],
        raw_validation=values[:end],
    )


def _rules(kind: Kind) -> Rules:
    workloads = {
        f"w{j}": WorkloadRule(
            name=f"w{j}",
            base=f"w{j}",
            metric=METRIC,
            validation_target=1.0,
            test_target=None,
            max_runtime_s=BUDGET_S,
            step_hint=1,
            rungs=tuple(1 - LEFT),
        )
        for j in range(kind.workloads)
    }
    rule = TuningRule(name="self", studies=kind.studies, trials_per_study=1, budget_factor=1.0)
    return Rules(
        name="simulated",
        description="",
        base_workloads=tuple(workloads),
        held_out={},
        workloads=workloads,
        tuning={"self": rule, "external": rule},
    )


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Pairs resolved, and shares of boards with any claim and with a wrong one: by the official target, the ladder."""

    official_pairs: float
    official_any: float
    official_wrong: float
    ladder_pairs: float
    ladder_any: float
    ladder_wrong: float


def claims(kind: Kind, boards: int, replicates: int, seed: int) -> Claims:
    """A claim is wrong unless the one that is called better has the higher true score by that target or ladder."""
    rules = _rules(kind)
    tallies = []
    for k, (tree, medians) in enumerate(simulated_trees(kind, boards, seed)):
        board = make_board(tree, rules, rules.tuning["self"], Mode.RULES)
        true = _true_scores(kind, medians, board)
        row: list[float] = []
        for rungs, truth in (((board.times,), true[0]), (rung_tables(tree, board, Passage()), true[1])):
            shares = rung_shares(resample_rungs(rungs, seed=k, replicates=replicates), board)
            better = separate_rungs(rungs, shares, rules, seed=k, most_deals=DEALS).better
            wrong = better & (truth[:, None] - truth[None, :] <= 1e-12)
            row += [better.sum() / (kind.entrants * (kind.entrants - 1) / 2), better.any(), wrong.any()]
        tallies.append(row)
    return Claims(**dict(zip((f.name for f in dataclasses.fields(Claims)), np.mean(tallies, axis=0), strict=True)))


def _true_scores(kind: Kind, medians: np.ndarray, board: Board) -> tuple[np.ndarray, np.ndarray]:
    """True scores [n] by the target and by the ladder: of median runs without noise."""
    if kind.spread == 0 and kind.texture == 0:
        return np.zeros(kind.entrants), np.zeros(kind.entrants)
    rungs = np.stack([time_to(left, medians) for left in (*LEFT, 0.0)])
    shares = workload_scores(rungs, board.times.workloads, board.rules)
    return shares[-1].mean(axis=-1), shares.mean(axis=0).mean(axis=-1)


def print_claims(boards: int, replicates: int, seed: int) -> None:
    print(
        "| board | studies | any claim: official | ladder | wrong claim: official | ladder | pairs: official | ladder |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for kind in (*TIED, *DISTINCT):
        for studies in (3, 5):
            c = claims(dataclasses.replace(kind, studies=studies), boards, replicates, seed)
            print(
                f"| {kind.name} | {studies} | {c.official_any:.3f} | {c.ladder_any:.3f} | {c.official_wrong:.3f} "
                f"| {c.ladder_wrong:.3f} | {c.official_pairs:.3f} | {c.ladder_pairs:.3f} |",
                flush=True,
            )


def print_crossings(boards: int, replicates: int, seed: int) -> None:
    """Pairs of runs, the second about 1.3 times as slow; each rung by four readings of the same evaluations."""
    readings = ("evaluation", "midpoint", "interpolated", "interpolated, 2 of 3")
    print(f"| noise of a value | {' | '.join(f'{r}: bias, SD' for r in readings)} |")
    print("|---:|" + "---:|" * len(readings))
    for value_noise in (0.0, 0.005, 0.02):
        kind, random = Kind(name="two", value_noise=value_noise), np.random.default_rng(seed)
        errors: dict[str, list[float]] = {reading: [] for reading in readings}
        for _ in range(10 * boards):
            to_target_s = MEDIAN_S * np.array([1.0, 1.3]) * np.exp(0.1 * random.standard_normal(2))
            trials = [_trial(random, kind, (i, 0, 0), t, 0.0, False) for i, t in enumerate(to_target_s)]
            truth = np.log(to_target_s[1] / to_target_s[0])
            for left in LEFT:
                pairs = [_readings(trial, 1 - left) for trial in trials]
                for reading, first, second in zip(readings, *pairs, strict=True):
                    errors[reading].append(np.log(second / first) - truth)
        row = " | ".join(f"{np.mean(e):+.3f}, {np.std(e):.3f}" for e in errors.values())
        print(f"| {value_noise:.1%} | {row} |", flush=True)
    _print_widths(boards, replicates, seed)


def _print_widths(boards: int, replicates: int, seed: int) -> None:
    print("\n| interval of the ladder score | coverage | mean width |\n|---|---:|---:|")
    kind = Kind(name="distinct", spread=0.3, texture=0.25)
    rules = _rules(kind)
    intervals: dict[str, list[tuple[float, float]]] = {"official target": [], "evaluation": [], "interpolated": []}
    for k, (tree, medians) in enumerate(simulated_trees(kind, boards, seed)):
        board = make_board(tree, rules, rules.tuning["self"], Mode.RULES)
        official, ladder = _true_scores(kind, medians, board)
        interpolated = rung_tables(tree, board, Passage())
        cases = {
            "official target": ((board.times,), official),
            "evaluation": (_at_evaluations(tree, board), ladder),
            "interpolated": (interpolated, ladder),
        }
        for name, (rungs, truth) in cases.items():
            scores = rung_shares(np.stack([t.workload_s for t in rungs]), board).mean(axis=-1)
            shares = rung_shares(resample_rungs(rungs, seed=k, replicates=replicates), board)
            low, high = score_intervals(shares, scores, studies=kind.studies)
            intervals[name].append((((low <= truth) & (truth <= high)).mean(), (high - low).mean()))
    for name, values in intervals.items():
        covered, width = np.mean(values, axis=0)
        print(f"| {name} | {covered:.3f} | {width:.3f} |", flush=True)


def _readings(trial: Trial, target: float) -> tuple[float, float, float, float]:
    """Time to a rung: of the evaluation, halfway to the one before, interpolated, and interpolated when sustained."""
    once, at = passed_at(trial, METRIC, target, BUDGET_S, Passage())
    sustained, _ = passed_at(trial, METRIC, target, BUDGET_S, Passage(needed=2, of=3))
    seen = float(trial.time_s[at])
    return seen, seen - PERIOD_S / 2, once, sustained


def _at_evaluations(tree: LogTree, board: Board) -> tuple[TimeTable, ...]:
    """Tables of rungs with the times of evaluations, as the official target has them."""
    tables = []
    for left in (*LEFT, 0.0):
        workloads = {
            name: dataclasses.replace(rule, rungs=(), validation_target=1 - left)
            for name, rule in board.rules.workloads.items()
        }
        tables.append(rules_times(tree, dataclasses.replace(board.rules, workloads=workloads), board.tuning))
    return tuple(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=("crossings", "claims"), help="one of them (default: both)")
    parser.add_argument("--boards", type=int, default=200, help="simulated boards for each number")
    parser.add_argument("--replicates", type=int, default=400, help="bootstrap replicates for each board")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tables = {"crossings": print_crossings, "claims": print_claims}
    for name in [args.table] if args.table else tables:
        tables[name](args.boards, args.replicates, args.seed)


if __name__ == "__main__":
    main()
