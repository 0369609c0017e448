"""Trials that missed their target, by how near they came to it."""

import math

from scoring.board import Board
from scoring.logs import LogTree
from scoring.tables import TrialRow, trial_rows

_MOST = 500  # a longer list helps nobody


def near_misses(tree: LogTree, board: Board) -> list[TrialRow]:
    """Trials that count and were not on target within their budget, the nearest first; at most 500 of them."""
    missed = [row for row in trial_rows(tree, board) if row.counts and row.distance_to_target > 0]
    missed = [row for row in missed if math.isinf(row.time_to_target_s)]
    return sorted(missed, key=lambda r: (r.distance_to_target, r.submission, r.workload, r.study, r.trial))[:_MOST]
