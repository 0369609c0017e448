"""What `algoperf score --json` says of a board; `results.json` has the whole analysis."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algoperf.records.json import plain
from scoring.board import Board
from scoring.log_issues import LogIssue

if TYPE_CHECKING:
    from scoring.analysis import Analysis


def board_answer(
    board: Board, findings: Sequence[LogIssue], files: Sequence[Path], analysis: "Analysis | None" = None
) -> dict[str, Any]:
    """The ranking with scores, in types of JSON; with intervals and the verdict where there is an analysis.

    Args:
      board: of the chosen mode.
      findings: on the logs; they are counted by severity.
      files: what was written.
      analysis: of the board; None where no statistics were asked for.
    """
    limits = (
        {} if analysis is None else {row.submission: (row.score_low, row.score_high) for row in analysis.leaderboard}
    )
    ranks, order = board.ranks(), board.ranking()
    answer: dict[str, Any] = plain(
        {
            "rules": board.rules.name,
            "tuning_ruleset": board.tuning.name,
            "verdict": None if analysis is None else _verdict(analysis),
            "leaderboard": [
                {
                    "submission": board.submissions[i],
                    "rank": int(ranks[i]),
                    "score": float(board.scores[i]),
                    "interval": limits.get(board.submissions[i]),
                }
                for i in order
            ],
            "findings": dict(sorted(Counter(str(finding.severity) for finding in findings).items())),
            "files": list(files),
        }
    )
    return answer


def _verdict(analysis: "Analysis") -> str:
    from scoring.verdict import verdict  # SciPy comes with it

    return verdict(analysis)
