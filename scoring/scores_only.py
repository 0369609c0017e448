"""Scores, ranks and times without any statistics: what a board of thousands of trials gives in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoring.board import Board, make_board
from scoring.completeness import log_issues_of
from scoring.csv_files import write_csv
from scoring.log_issues import LogIssue, printable
from scoring.logs import LogTree
from scoring.profiles import profile, tau_grid
from scoring.provenance import provenance_rows
from scoring.rules import Rules, TuningRule
from scoring.times import Mode
from scoring.validity import rule_conflicts, validity_issues

SCORE_COLUMNS = ("submission", "score", "rank", "workloads_solved", "score_rules", "score_algoperf")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """`board` is that of the chosen mode; `rules_board` and `algoperf_board` are both modes."""

    board: Board
    rules_board: Board
    algoperf_board: Board
    findings: Sequence[LogIssue]


def score_only(tree: LogTree, rules: Rules, tuning: TuningRule, mode: Mode) -> Scores:
    """Scores the logs in both modes."""
    boards = {m: make_board(tree, rules, tuning, m) for m in Mode}
    validity = validity_issues(tree, rule_conflicts(tree, rules, tuning), provenance_rows(tree))
    return Scores(
        board=boards[mode],
        rules_board=boards[Mode.RULES],
        algoperf_board=boards[Mode.ALGOPERF],
        findings=sorted([*log_issues_of(tree, boards[Mode.RULES]), *validity]),
    )


def write_scores(scores: Scores, output_dir: Path) -> list[Path]:
    """Writes `scores.csv`, `notes.md` and what `write_board_tables` writes; returns the paths."""
    output_dir.mkdir(parents=True, exist_ok=True)
    board, ranks = scores.board, scores.board.ranks()
    rows = [
        (
            board.submissions[i],
            board.scores[i],
            int(ranks[i]),
            int(np.isfinite(board.qualified_s[i]).sum()),
            scores.rules_board.scores[i],
            scores.algoperf_board.scores[i],
        )
        for i in board.ranking()
    ]
    notes = output_dir / "notes.md"
    notes.write_text(
        "\n".join(["# Notes", "", "## Findings about the logs", ""] + [f"- {f}" for f in scores.findings]) + "\n",
        encoding="utf-8",
        errors="backslashreplace",
    )
    return [write_csv(output_dir / "scores.csv", SCORE_COLUMNS, rows), *write_board_tables(board, output_dir), notes]


def write_board_tables(board: Board, output_dir: Path) -> list[Path]:
    """Writes `time_to_targets.csv` and `performance_profile_score.csv`."""
    times = [[name, *board.times.workload_s[i]] for i, name in enumerate(board.submissions)]
    taus = tau_grid(board.rules.tau_max)
    curves = profile(board.ratios, taus)
    profiles = [[name, *curves[i]] for i, name in enumerate(board.submissions)]
    return [
        write_csv(output_dir / "time_to_targets.csv", ["submission", *board.times.workloads], times),
        write_csv(output_dir / "performance_profile_score.csv", ["submission", *map(repr, map(float, taus))], profiles),
    ]


def print_scores(scores: Scores) -> None:
    """Prints rank, submission and score, best first."""
    board, ranks = scores.board, scores.board.ranks()
    print(f"{board.title}, without statistics")
    width = max(len("submission"), *(len(printable(name)) for name in board.submissions))
    print(f"{'rank':>4}  {'submission':<{width}}  {'score':>7}")
    for i in board.ranking():
        print(f"{ranks[i]:>4}  {printable(board.submissions[i]):<{width}}  {board.scores[i]:7.4f}")
