"""The ladder of targets: the score of a board at easier targets too, next to the official one.

The ladder score is the mean, over the rungs of the rule set's ladder, of the score by the written rules with that rung
for a target. The last rung is the official target, with the official times. Intervals, ranks and verdicts come from
the comparison of the official score (`scoring.statistics.ranking`), where a study is drawn and dealt with its times at
all rungs.

Times at the easier rungs are interpolated: a value is passed between two evaluations, and the official time, that of
the later one, adds up to a whole evaluation period.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import MetricSpec
from algoperf.records import best
from scoring.board import Board, competition_ranks, workload_scores
from scoring.log_issues import printable
from scoring.logs import LogTree, Trial
from scoring.ranked_row import RankedRow
from scoring.rules import WorkloadRule
from scoring.statistics.bootstrap import resample_rungs, score_intervals
from scoring.statistics.rank_correlation import kendall_tau
from scoring.statistics.ranking import Separation, rank_sets, separate_rungs, tie_groups
from scoring.times import TimeTable, rules_times


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What passing a rung takes: `needed` of the `of` evaluations from that one on are on it.

    At the end of a run, of the evaluations that are left no more may be off it than that allows.
    """

    needed: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.of:
            raise ValueError(f"a rung is passed by K of M evaluations, 1 <= K <= M; got {self.needed}/{self.of}")

    @classmethod
    def parse(cls, text: str) -> "Passage":
        """From `K/M`. Raises ValueError."""
        needed, _, of = text.partition("/")
        try:
            return cls(needed=int(needed), of=int(of))
        except ValueError as error:
            raise ValueError(f"expected K/M with 1 <= K <= M, such as 2/3, got {text!r}") from error

    def __str__(self) -> str:
        return "the first evaluation on it" if self.of == 1 else f"{self.needed} of {self.of} evaluations on it"


FIRST_REACHED = Passage()


@dataclass(frozen=True, kw_only=True)
class LadderRow(RankedRow):
    """One submission on the ladder.

    `scores_by_rung` are from the easiest rung to the official target; `rungs_passed` counts pairs of a base workload
    and a rung that add to the score.
    """

    scores_by_rung: tuple[float, ...]
    rungs_passed: int


@dataclass(frozen=True, kw_only=True)
class LadderPair:
    """Two submissions; `verdict` names the better one where `p_adjusted`, for all pairs together, is at most 5 %."""

    a: str
    b: str
    verdict: str | None
    difference: float
    p_adjusted: float


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A board by its ladder. Shapes: k rungs, the last the official target; n submissions; w workloads; S studies.

    Attributes:
      workloads: the scored ones; `base_workloads` of them enter the score.
      targets: [w][k] validation targets.
      passage: what passing a rung takes, in words.
      rows: from the best score to the worst.
      pairs: every pair once, in the order of names.
      study_times_s: [k, n, w, S], inf for a miss; submissions as on the board.
      times_s: [k, n, w] medians of the studies.
      tau_with_official: Kendall's tau of the ladder score and the official score.
    """

    workloads: tuple[str, ...]
    base_workloads: tuple[str, ...]
    targets: tuple[tuple[float, ...], ...]
    passage: str
    rows: tuple[LadderRow, ...]
    pairs: tuple[LadderPair, ...]
    study_times_s: np.ndarray
    times_s: np.ndarray
    tau_with_official: float


def passed_at(trial: Trial, metric: MetricSpec, target: float, budget_s: float, passage: Passage) -> tuple[float, int]:
    """Time in seconds at which a trial passes `target`, and the evaluation that shows it; (inf, -1): never.

    The time is linear in the value between the evaluations around it, and that of the evaluation itself where there is
    no finite worse value before it.
    """
    within = trial.time_s <= budget_s
    values, time_s = trial.validation[within], trial.time_s[within]
    hits = best.where_reached(values, metric, target)
    allowed = passage.of - passage.needed
    at = next((int(i) for i in np.flatnonzero(hits) if (~hits[i : i + passage.of]).sum() <= allowed), -1)
    if at < 0:
        return np.inf, at
    if at == 0 or hits[at - 1] or not np.isfinite(values[at - 1]):
        return float(time_s[at]), at
    share = (target - values[at - 1]) / (values[at] - values[at - 1])
    return float(time_s[at - 1] + share * (time_s[at] - time_s[at - 1])), at


def rung_tables(tree: LogTree, board: Board, passage: Passage) -> tuple[TimeTable, ...]:
    """Times at each rung, the easiest first; the last table is that of the board itself."""
    numbers = {len(board.rules.workloads[w].rungs) for w in board.rules.scored_workloads}
    easier = [
        rules_times(
            tree,
            board.rules,
            board.tuning,
            board.times.workloads,
            reached=functools.partial(_reached_rung, rung=rung, passage=passage),
        )
        for rung in range(max(numbers))
    ]
    return (*easier, board.times)


def _reached_rung(
    trial: Trial, rule: WorkloadRule, budget_s: float, *, rung: int, passage: Passage
) -> tuple[float, float]:
    time_s, evaluation = passed_at(trial, rule.metric, rule.rungs[rung], budget_s, passage)
    return time_s, np.inf if evaluation < 0 else float(evaluation)


def rung_shares(workload_s: np.ndarray, board: Board) -> np.ndarray:
    """Mean shares over rungs [..., n, b], whose mean over base workloads is the score, of times [..., k, n, w]."""
    shares: np.ndarray = workload_scores(workload_s, board.times.workloads, board.rules).mean(axis=-3)
    return shares


def score_ladder(
    tree: LogTree, board: Board, *, seed: int, replicates: int, passage: Passage = FIRST_REACHED
) -> Ladder | None:
    """The board of the written rules by the ladder of its rule set; None where that has none."""
    if not board.rules.has_ladder:
        return None
    rungs = rung_tables(tree, board, passage)
    times_s = np.stack([table.workload_s for table in rungs])
    drawn = rung_shares(resample_rungs(rungs, seed=seed, replicates=replicates), board)
    separation = separate_rungs(rungs, drawn, board.rules, seed=seed)
    scores = rung_shares(times_s, board).mean(axis=-1)
    rules = board.rules.workloads
    return Ladder(
        workloads=board.times.workloads,
        base_workloads=board.rules.base_workloads,
        targets=tuple((*rules[w].rungs, rules[w].validation_target) for w in board.times.workloads),
        passage=str(passage),
        rows=tuple(_rows(board, times_s, drawn, separation)),
        pairs=tuple(_pairs(board.submissions, separation)),
        study_times_s=np.stack([table.study_s for table in rungs]),
        times_s=times_s,
        tau_with_official=float(kendall_tau(scores, board.scores)),
    )


def ladder_table(ladder: Ladder, submissions: Sequence[str]) -> tuple[list[str], list[list[object]]]:
    """Header and rows of `ladder.csv`: a row for each workload, rung and submission, with its median time."""
    header = ["workload", "rung", "target", "submission", "time_s"]
    rows: list[list[object]] = [
        [workload, rung + 1, ladder.targets[w][rung], submission, float(ladder.times_s[rung, i, w])]
        for w, workload in enumerate(ladder.workloads)
        for rung in range(len(ladder.targets[w]))
        for i, submission in enumerate(submissions)
    ]
    return header, rows


def ladder_markdown(ladder: Ladder, escape: Callable[[str], str]) -> list[str]:
    """The section of the board on its ladder; `escape` makes names safe."""
    count = len(ladder.targets[0])
    most = count * len(ladder.base_workloads)
    lines = [
        f"Mean over {count} targets on each workload, the last of them the official one, of the score with each. It "
        "does not replace the official score above: it says more where runs are few, and about runs that come near "
        "the target and miss it. Intervals, sets of ranks, tie groups and verdicts are made as above, for the ladder "
        f"alone. An easier target is passed by {ladder.passage}, at a time interpolated between evaluations; the "
        f"official one as above. Kendall's tau with the official order: {ladder.tau_with_official:.2f}.",
        "",
        "| rank | ranks it may have | tie group | submission | ladder score | 95 % interval | "
        "score at each target | passed |",
        "|---:|:---:|:---:|:---|---:|:---:|:---:|---:|",
    ]
    for row in ladder.rows:
        by_rung = ", ".join(f"{score:.2f}" for score in row.scores_by_rung)
        lines.append(
            f"| {row.rank} | {row.rank_low} to {row.rank_high} | {row.tie_group} | {escape(row.submission)} "
            f"| {row.score:.4f} | {_limits(row)} | {by_rung} | {row.rungs_passed}/{most} |"
        )
    return [*lines, "", *(f"- {escape(line)}" for line in verdict_lines(ladder))]


def verdict_lines(ladder: Ladder) -> list[str]:
    """Who is better than whom by the ladder, a sentence for each submission that is."""
    beaten: dict[str, list[str]] = {row.submission: [] for row in ladder.rows}
    for pair in ladder.pairs:
        if pair.verdict is not None:
            beaten[pair.verdict].append(pair.b if pair.verdict == pair.a else pair.a)
    lines = [f"By the ladder {name} is better than {', '.join(others)}." for name, others in beaten.items() if others]
    return lines or ["The ladder distinguishes no two submissions."]


def ladder_text(ladder: Ladder) -> list[str]:
    """The ladder as lines for a terminal."""
    lines = [f"ladder of {len(ladder.targets[0])} targets, tau with the official order {ladder.tau_with_official:.2f}"]
    width = max(len("submission"), *(len(printable(row.submission)) for row in ladder.rows))
    for row in ladder.rows:
        ranks = f"{row.rank_low}-{row.rank_high}"
        name = printable(row.submission)
        lines.append(
            f"{row.rank:>4}  {ranks:>7}  {row.tie_group:>3}  {name:<{width}}  {row.score:7.4f}  {_limits(row)}"
        )
    return [*lines, *map(printable, verdict_lines(ladder))]


def _limits(row: LadderRow) -> str:
    return "not known" if np.isnan(row.score_low) else f"{row.score_low:.3f} to {row.score_high:.3f}"


def _rows(board: Board, times_s: np.ndarray, drawn_shares: np.ndarray, separation: Separation) -> list[LadderRow]:
    shares = workload_scores(times_s, board.times.workloads, board.rules)
    by_rung = shares.mean(axis=-1)
    scores = shares.mean(axis=0).mean(axis=-1)
    low, high = score_intervals(drawn_shares, scores, studies=board.tuning.studies)
    best_rank, worst_rank = rank_sets(separation.better)
    order = sorted(range(len(scores)), key=lambda i: (-round(float(scores[i]), 12), board.submissions[i]))
    groups, ranks = tie_groups(order, separation.better), competition_ranks(scores)
    return [
        LadderRow(
            submission=board.submissions[i],
            score=float(scores[i]),
            score_low=float(low[i]),
            score_high=float(high[i]),
            rank=int(ranks[i]),
            rank_low=int(best_rank[i]),
            rank_high=int(worst_rank[i]),
            tie_group=groups[i],
            scores_by_rung=tuple(map(float, by_rung[:, i])),
            rungs_passed=int((shares[:, i] > 0).sum()),
        )
        for i in order
    ]


def _pairs(names: tuple[str, ...], separation: Separation) -> list[LadderPair]:
    better = separation.better
    return [
        LadderPair(
            a=names[i],
            b=names[j],
            verdict=names[i] if better[i, j] else names[j] if better[j, i] else None,
            difference=float(separation.difference[i, j]),
            p_adjusted=float(separation.p_adjusted[i, j]),
        )
        for i, j in zip(*np.triu_indices(len(names), 1), strict=True)
    ]
