"""What the statistics of a board are worth, on simulated boards whose truth is known. Prints Markdown tables.

    python benchmarks/scoring_coverage.py [--table=intervals|claims|power|studies] [--boards=200] [--seed=0]

Times are random around true medians; the true score is that of the true median study times.

- intervals: coverage of the 95 % intervals of scores, and their mean width.
- claims: share of boards on which anything is said though nobody is better.
- power: pairs resolved, boards with a wrong claim, and sets of ranks where somebody is better.
- studies: how often the range of studies needed holds the number that gives a power of 80 %.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Direction, MetricSpec
from scoring.board import competition_ranks, score_times, workload_scores
from scoring.rules import Rules, TuningRule, WorkloadRule
from scoring.statistics.best_of_k import Runs, median_of_best, resample_best
from scoring.statistics.bootstrap import resample_studies, score_intervals
from scoring.statistics.power import studies_to_resolve
from scoring.statistics.ranking import Separation, rank_sets, separate
from scoring.times import TimeTable, median_of_studies

CONFIG_FACTORS = np.array([1.0, 1.1, 1.3, 1.6, 2.5])
TRUTH_DRAWS = 10_001
WORKLOADS = (2, 4, 8)
STUDIES = (2, 3, 5)
DEALS = 1_999
MORE_STUDIES = (4, 5, 6, 8, 10, 13, 16, 20, 26, 32)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of board.

    Attributes:
      noise: standard deviation of the logarithm of a time.
      spread: the last submission is exp(spread) times slower than the first.
      texture: standard deviation of what a submission gains or loses on a single workload.
      failures: share of strata that never reach the target, and share of those that miss it with a chance of 15 %.
      shared_failures: chance of a miss on every second workload, the same for all.
      alternating_failures: the same, but for every second submission on the other workloads.
      skewed: times have a long upper tail.
      uneven: standard deviation of the logarithm of a workload's noise.
      noisier: the last submission's noise is exp(2 * noisier) times the first's.
      truth: seed of the true medians, if all boards are to have the same.
    """

    name: str
    entrants: int = 5
    workloads: int = 8
    studies: int = 3
    noise: float = 0.15
    spread: float = 0.3
    texture: float = 0.25
    failures: tuple[float, float] = (0.0, 0.0)
    shared_failures: float = 0.0
    alternating_failures: float = 0.0
    skewed: bool = False
    uneven: float = 0.0
    noisier: float = 0.0
    trials: int = 1
    truth: int | None = None


_CLOSE = {"spread": 0.0, "texture": 0.02}
_TIED = {"spread": 0.0, "texture": 0.0}
INTERVAL_KINDS = (
    Kind(name="distinct"),
    Kind(name="distinct, skewed", skewed=True),
    Kind(name="distinct, uneven noise", uneven=0.8),
    Kind(name="distinct, misses", failures=(0.1, 0.15)),
    Kind(name="distinct, misses, skewed", failures=(0.1, 0.15), skewed=True),
    Kind(name="close", **_CLOSE),
    Kind(name="close, skewed", skewed=True, **_CLOSE),
    Kind(name="close, misses", failures=(0.1, 0.15), **_CLOSE),
    Kind(name="five trials", trials=5),
)
TIED_KINDS = (
    Kind(name="all tied", **_TIED),
    Kind(name="all tied, misses", shared_failures=0.2, **_TIED),
    Kind(name="all tied, skewed", skewed=True, **_TIED),
    Kind(name="equal scores, noise 1 to 2.7", noisier=0.5, **_TIED),
    Kind(name="equal scores, misses on different workloads", alternating_failures=0.2, **_TIED),
)
DISTINCT_KINDS = (Kind(name="distinct"), Kind(name="distinct, misses", failures=(0.1, 0.15)))


@dataclass(frozen=True, kw_only=True)
class SimulatedBoard:
    """One board: its times and the true medians [n, w] of a study."""

    times: TimeTable
    rules: Rules
    true_median_s: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        return score_times(self.true_median_s, self.times.workloads, self.rules)


def simulated_boards(kind: Kind, boards: int, seed: int) -> Iterator[SimulatedBoard]:
    random = np.random.default_rng([seed, kind.entrants, kind.workloads, kind.studies, kind.trials])
    shape = (boards, kind.entrants, kind.workloads)
    speed = np.linspace(0, kind.spread, kind.entrants)[:, None]
    if kind.truth is None:
        medians = np.exp(speed + kind.texture * random.standard_normal(shape))
    else:
        texture = kind.texture * np.random.default_rng(kind.truth).standard_normal(shape[1:])
        medians = np.tile(np.exp(speed + texture), (boards, 1, 1))
    success = np.ones(shape)
    never, unsure = kind.failures
    medians[random.random(shape) < never] = np.inf
    success[random.random(shape) < unsure] = 0.85
    success[..., ::2] = np.minimum(success[..., ::2], 1 - kind.shared_failures)
    alternating = (np.arange(kind.entrants)[:, None] + np.arange(kind.workloads)) % 2 == 0
    success = np.minimum(success, np.where(alternating, 1 - kind.alternating_failures, 1.0))
    noise = kind.noise * np.exp(kind.uneven * random.standard_normal((boards, 1, kind.workloads)))
    noise = noise * np.exp(np.linspace(-kind.noisier, kind.noisier, kind.entrants))[:, None]
    true_s = _true_medians(random, medians, success, noise, kind)
    trial_s = _draw(random, medians, success, noise, kind, kind.studies)
    rules = _rules(kind.workloads)
    for board_s, board_true_s in zip(trial_s, true_s, strict=True):
        yield SimulatedBoard(times=_table(rules, board_s), rules=rules, true_median_s=board_true_s)


def _draw(
    random: np.random.Generator, medians: np.ndarray, success: np.ndarray, noise: np.ndarray, kind: Kind, studies: int
) -> np.ndarray:
    """Times [..., S, T]: each trial is one configuration, slower than the best by its factor."""
    shape = (*medians.shape, studies, kind.trials)
    standard = random.standard_exponential(shape) - np.log(2) if kind.skewed else random.standard_normal(shape)
    times = medians[..., None, None] * CONFIG_FACTORS[: kind.trials] * np.exp(noise[..., None, None] * standard)
    return np.where(random.random(shape) < success[..., None, None], times, np.inf)


def _true_medians(
    random: np.random.Generator, medians: np.ndarray, success: np.ndarray, noise: np.ndarray, kind: Kind
) -> np.ndarray:
    """Medians of the law of a study's time: of a simulated one at median 1, for each success rate and noise."""
    if kind.trials > 1:
        one, rate = np.ones(1), np.ones(1)
        factor = np.median(_draw(random, one, rate, np.full(1, kind.noise), kind, TRUTH_DRAWS).min(axis=-1))
        return medians * factor
    standard = np.sort(
        random.standard_exponential(200_001) - np.log(2) if kind.skewed else random.standard_normal(200_001)
    )
    quantile = standard[(0.5 / success * 200_000).astype(int)]
    return medians * np.exp(noise * np.where(success < 1, quantile, 0.0))


def interval_coverage(kind: Kind, boards: int, replicates: int, seed: int) -> tuple[float, float]:
    """Share of scores in their intervals, and the mean width of these; of best-of-k scores where trials are several."""
    inside, widths = [], []
    for k, board in enumerate(simulated_boards(kind, boards, seed)):
        if kind.trials > 1:
            medians, draws = _best_of_k(board.times, kind.trials, k, replicates)
        else:
            medians, draws = board.times.workload_s, resample_studies(board.times, seed=k, replicates=replicates)
        scores = score_times(medians, board.times.workloads, board.rules)
        shares = workload_scores(draws, board.times.workloads, board.rules)
        low, high = score_intervals(shares, scores, studies=kind.studies)
        inside.append((low - 1e-9 <= board.truth) & (board.truth <= high + 1e-9))
        widths.append(high - low)
    return float(np.mean(inside)), float(np.mean(widths))


def _best_of_k(times: TimeTable, k: int, seed: int, replicates: int) -> tuple[np.ndarray, np.ndarray]:
    medians, draws = np.empty(times.workload_s.shape), np.empty((replicates, *times.workload_s.shape))
    for i, j in np.ndindex(medians.shape):
        runs = Runs(values=np.sort(times.trial_s[i, j].T, axis=1), fixed=True)
        names = (times.submissions[i], times.workloads[j])
        medians[i, j] = median_of_best(runs, k)
        draws[:, i, j] = resample_best(runs, k, seed=seed, names=names, replicates=replicates)
    return medians, draws


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Shares of boards with any claim, with a wrong one, and with every true rank in its set; and of pairs resolved."""

    boards_with_any: float
    boards_with_wrong: float
    pairs_resolved: float
    boards_with_ranks: float


def claims(kind: Kind, boards: int, replicates: int, seed: int) -> Claims:
    """A claim is wrong unless the one that is called better has the higher true score."""
    tallies = []
    for k, board in enumerate(simulated_boards(kind, boards, seed)):
        better = _separation(board, replicates, k).better
        true_difference = board.truth[:, None] - board.truth[None, :]
        best, worst = rank_sets(better)
        ranks = competition_ranks(board.truth)
        pairs = kind.entrants * (kind.entrants - 1) / 2
        wrong = (better & (true_difference <= 1e-12)).any()
        tallies.append((better.any(), wrong, better.sum() / pairs, ((best <= ranks) & (ranks <= worst)).all()))
    return Claims(**dict(zip((f.name for f in dataclasses.fields(Claims)), np.mean(tallies, axis=0), strict=True)))


def _separation(board: SimulatedBoard, replicates: int, seed: int) -> Separation:
    draws = resample_studies(board.times, seed=seed, replicates=replicates)
    shares = workload_scores(draws, board.times.workloads, board.rules)
    return separate(board.times, shares, board.rules, seed=seed, most_deals=DEALS)


def print_intervals(boards: int, replicates: int, seed: int) -> None:
    print(f"| board | studies | noise | {' | '.join(f'{w} workloads' for w in WORKLOADS)} |")
    print("|---|---:|---:|" + "---:|" * len(WORKLOADS))
    for kind in INTERVAL_KINDS:
        for studies in STUDIES:
            for noise in (0.05, 0.15):
                rates = [
                    interval_coverage(
                        dataclasses.replace(kind, studies=studies, noise=noise, workloads=w), boards, replicates, seed
                    )
                    for w in WORKLOADS
                ]
                row = " | ".join(f"{covered:.3f} ({width:.3f})" for covered, width in rates)
                print(f"| {kind.name} | {studies} | {noise:.0%} | {row} |", flush=True)


def print_claims(boards: int, replicates: int, seed: int) -> None:
    cases = [(5, 2), (5, 4), (5, 8), (10, 4), (10, 8)]
    print(f"| nobody better | studies | {' | '.join(f'{n} entrants, {w} workloads' for n, w in cases)} |")
    print("|---|---:|" + "---:|" * len(cases))
    for kind in TIED_KINDS:
        for studies in STUDIES:
            at = dataclasses.replace(kind, studies=studies)
            outcomes = [
                claims(dataclasses.replace(at, entrants=n, workloads=w), boards, replicates, seed) for n, w in cases
            ]
            row = " | ".join(f"{c.boards_with_any:.3f}" for c in outcomes)
            print(f"| {kind.name} | {studies} | {row} |", flush=True)


def print_power(boards: int, replicates: int, seed: int) -> None:
    print(
        "| somebody better | studies | noise | workloads | pairs resolved | boards with a wrong claim "
        "| with all ranks in their sets |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind in DISTINCT_KINDS:
        for studies in STUDIES:
            for noise in (0.05, 0.15):
                for w in WORKLOADS:
                    at = dataclasses.replace(kind, studies=studies, noise=noise, workloads=w)
                    c = claims(at, boards, replicates, seed)
                    print(
                        f"| {kind.name} | {studies} | {noise:.0%} | {w} | {c.pairs_resolved:.3f} | "
                        f"{c.boards_with_wrong:.3f} | {c.boards_with_ranks:.3f} |",
                        flush=True,
                    )


def print_studies(boards: int, replicates: int, seed: int) -> None:
    """Boards of fixed truths: the studies that give each pair a power of 80 %, and the ranges told from few studies."""
    print("| truth | studies | ranges | below the range | in it | above it |")
    print("|---|---:|---:|---:|---:|---:|")
    for truth, noise in ((1, 0.15), (2, 0.15), (3, 0.3)):
        kind = Kind(name=f"truth {truth}, noise {noise:.0%}", noise=noise, truth=truth)
        power = [
            _power(dataclasses.replace(kind, studies=n), max(20, boards // 4), replicates, seed) for n in MORE_STUDIES
        ]
        for studies in STUDIES:
            needed = _needed(np.array(power), studies)
            below, inside, above = _ranges(dataclasses.replace(kind, studies=studies), needed, boards, replicates, seed)
            total = below + inside + above
            print(
                f"| {kind.name} | {studies} | {total} | {below / total:.3f} | {inside / total:.3f} "
                f"| {above / total:.3f} |",
                flush=True,
            )


def _power(kind: Kind, boards: int, replicates: int, seed: int) -> np.ndarray:
    """Share [n, n] of boards on which each pair is resolved."""
    better = [_separation(b, replicates, k).better for k, b in enumerate(simulated_boards(kind, boards, seed + 1))]
    return np.mean([one | one.T for one in better], axis=0)


def _needed(power: np.ndarray, studies: int) -> np.ndarray:
    """Smallest number [n, n] of studies above `studies` with a power of 80 %, interpolated; inf beyond the grid."""
    power = np.maximum.accumulate(power, axis=0)
    needed = np.full(power.shape[1:], np.inf)
    for at in np.ndindex(needed.shape):
        curve = power[(slice(None), *at)]
        if curve[-1] >= 0.8:
            first = int((curve >= 0.8).argmax())
            low = max(first - 1, 0)
            needed[at] = np.interp(0.8, curve[low : first + 1], MORE_STUDIES[low : first + 1])
    return np.maximum(np.ceil(needed), studies + 1)


def _ranges(kind: Kind, needed: np.ndarray, boards: int, replicates: int, seed: int) -> tuple[int, int, int]:
    """Numbers of unresolved pairs whose number of studies needed lies below, in and above the range."""
    counts = [0, 0, 0]
    for k, board in enumerate(simulated_boards(kind, boards, seed)):
        separation = _separation(board, replicates, k)
        for i, j in zip(*np.triu_indices(kind.entrants, 1), strict=True):
            if separation.better[i, j] or separation.better[j, i] or np.isinf(needed[i, j]):
                continue
            low, high = studies_to_resolve(
                float(separation.difference[i, j]),
                float(separation.standard_error[i, j]),
                float(separation.degrees_of_freedom[i, j]),
                studies=kind.studies,
                workloads=kind.workloads,
                entrants=kind.entrants,
            )
            counts[0 if needed[i, j] < low else 2 if needed[i, j] > high else 1] += 1
    return counts[0], counts[1], counts[2]


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


def _rules(workloads: int) -> Rules:
    names = [f"w{j}" for j in range(workloads)]
    metric = MetricSpec(name="accuracy", direction=Direction.MAXIMIZE)
    workload_rules = {
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
        workloads=workload_rules,
        tuning=tuning,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--table", choices=("intervals", "claims", "power", "studies"), help="one of them (default: all)"
    )
    parser.add_argument("--boards", type=int, default=200, help="simulated boards for each number")
    parser.add_argument("--replicates", type=int, default=400, help="bootstrap replicates for each board")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tables = {"intervals": print_intervals, "claims": print_claims, "power": print_power, "studies": print_studies}
    for name in [args.table] if args.table else tables:
        tables[name](args.boards, args.replicates, args.seed)


if __name__ == "__main__":
    main()
