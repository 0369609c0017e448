"""Places scored submissions on a published board, without the logs of those who are on it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scoring.board import Board, competition_ranks
from scoring.log_issues import printable
from scoring.matrix import performance_ratios, qualified_times
from scoring.profiles import exact_score, grid_score, profile, tau_grid
from scoring.published import PublishedBoard, PublishedBoardError
from scoring.times import Mode

PROFILE_REFERENCE = "fixed reference: times over the fastest published one; newcomers do not move it"


@dataclass(frozen=True, kw_only=True)
class PlacedSubmission:
    """A row of the joint board.

    Attributes:
      published: on the published board; otherwise a newcomer, scored from its logs.
      score: published; of a newcomer, the score against the fixed reference, the fastest published times.
      joint_score, joint_rank: on the board of all of them, where newcomers move the fastest times.
      ratios: times over the fastest published ones by base workload, inf for a miss; below 1 is faster than these.
    """

    submission: str
    published: bool
    score: float
    joint_score: float
    joint_rank: int
    ratios: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Newcomers on a published board; `rows` by joint rank, `profiles` in the order of `rows` at `taus`."""

    board: PublishedBoard
    workloads: tuple[str, ...]
    rows: tuple[PlacedSubmission, ...]
    reference: str
    taus: tuple[float, ...]
    profiles: tuple[tuple[float, ...], ...]


def place_submissions(board: Board, published: PublishedBoard) -> Placement:
    """Places the submissions of `board`.

    Raises PublishedBoardError where the two were not made under the same rules, or no times are published.
    """
    rules = board.rules
    if (rules.name, board.tuning.name) != (published.rules, published.tuning):
        raise PublishedBoardError(
            f"the board {published.name} was made under rules {published.rules}, {published.tuning} tuning, and these "
            f"logs are scored by {rules.name}, {board.tuning.name}; choose --rules={published.rules} "
            f"--tuning_ruleset={published.tuning}, or another board"
        )
    theirs = published.time_matrix(rules.scored_workloads)
    everybody = np.concatenate([theirs, _times_of(board)])
    fixed = _fixed_ratios(board, theirs, everybody)
    joint = _scores(board, performance_ratios(_qualified(board, everybody, None)))
    own = _scores(board, np.maximum(fixed, 1.0))
    rows = _rows(board, published, fixed, joint, own)
    taus = tau_grid(rules.tau_max)
    order = [index for index, _ in rows]
    return Placement(
        board=published,
        workloads=rules.base_workloads,
        rows=tuple(row for _, row in rows),
        reference=PROFILE_REFERENCE,
        taus=tuple(map(float, taus)),
        profiles=tuple(tuple(map(float, shares)) for shares in profile(fixed[order], taus)),
    )


def _rows(
    board: Board, published: PublishedBoard, fixed: np.ndarray, joint: np.ndarray, own: np.ndarray
) -> list[tuple[int, PlacedSubmission]]:
    """Rows by joint rank with their positions in the arrays, published submissions first."""
    ranks = competition_ranks(joint)
    names = (*published.submissions, *board.submissions)
    rows = []
    for i, name in enumerate(names):
        is_published = i < len(published.submissions)
        row = PlacedSubmission(
            submission=name,
            published=is_published,
            score=published.scores[name] if is_published else float(own[i]),
            joint_score=float(joint[i]),
            joint_rank=int(ranks[i]),
            ratios=tuple(map(float, fixed[i])),
        )
        rows.append((i, row))
    return sorted(rows, key=lambda entry: (entry[1].joint_rank, entry[1].submission, entry[0]))


def _times_of(board: Board) -> np.ndarray:
    """Times [n, w] of the board's submissions on the scored workloads of its rules, inf for a miss."""
    times = dict(zip(board.times.workloads, board.times.workload_s.T, strict=True))
    blank = np.full(len(board.submissions), np.inf)
    columns = np.stack([times.get(workload, blank) for workload in board.rules.scored_workloads], axis=1)
    return np.where(np.isnan(columns), np.inf, columns)


def _fixed_ratios(board: Board, theirs: np.ndarray, everybody: np.ndarray) -> np.ndarray:
    """Ratios [n, b] over the fastest published times, with the cut-off at a multiple of these."""
    fastest = theirs.min(axis=0)
    reference = _qualified(board, theirs, None).min(axis=0)
    times = _qualified(board, everybody, fastest)
    with np.errstate(invalid="ignore"):
        ratios = times / reference
    # where nobody who is published has a time, whoever has one is as good as the best
    return np.where(np.isfinite(times), np.where(np.isfinite(reference), ratios, 1.0), np.inf)


def _qualified(board: Board, times_s: np.ndarray, reference_s: np.ndarray | None) -> np.ndarray:
    rules = board.rules
    return qualified_times(
        times_s,
        rules.scored_workloads,
        rules.base_workloads,
        rules.held_out,
        rules.cutoff_factor,
        reference_s=reference_s,
    )


def _scores(board: Board, ratios: np.ndarray) -> np.ndarray:
    score = exact_score if board.mode is Mode.RULES else grid_score
    return score(ratios, board.rules.tau_max)


def placement_table(placement: Placement) -> tuple[list[str], list[list[object]]]:
    """Header and rows of `against.csv`."""
    header = ["submission", "published", "score", "joint_score", "joint_rank"]
    header += [f"ratio_{workload}" for workload in placement.workloads]
    rows: list[list[object]] = [
        [row.submission, row.published, row.score, row.joint_score, row.joint_rank, *row.ratios]
        for row in placement.rows
    ]
    return header, rows


def placement_markdown(placement: Placement, escape: Callable[[str], str]) -> list[str]:
    """The section of the board that places its submissions on the published one; `escape` makes names safe."""
    board = placement.board
    lines = [f"Source: {board.source}. Its runs were made on {board.hardware}: times of other hardware are no match."]
    lines += ["", "| rank | submission | | score | score among all |", "|---:|:---|:---|---:|---:|"]
    for row in placement.rows:
        origin = "published" if row.published else "from these logs"
        lines.append(
            f"| {row.joint_rank} | {escape(row.submission)} | {origin} | {row.score:.4f} | {row.joint_score:.4f} |"
        )
    lines += [
        "",
        "Score: as published; of a newcomer, by the fixed reference, the fastest published times, which it does not "
        "move. Score among all, and rank: on the board of everybody, where newcomers may be the fastest. Profiles with "
        "the fixed reference are in `against_profiles.csv`. There are no intervals: the spread of the published times "
        "is not known.",
    ]
    return lines


def placement_text(placement: Placement) -> list[str]:
    """The placement as lines for a terminal."""
    board = placement.board
    lines = [f"on the published board {board.name} (made on {board.hardware}; {placement.reference})"]
    width = max(len(printable(row.submission)) for row in placement.rows)
    for row in placement.rows:
        origin = "published" if row.published else "these logs"
        name = printable(row.submission)
        lines.append(
            f"{row.joint_rank:>4}  {name:<{width}}  {origin:<10}  {row.score:7.4f}  among all {row.joint_score:.4f}"
        )
    return lines
