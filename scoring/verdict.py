"""The board in one or two sentences. Everything in them is read off the comparison of all pairs."""

import math
from collections.abc import Sequence

import numpy as np

from scoring.analysis import Analysis
from scoring.log_issues import Severity
from scoring.statistics.head_to_head import PairwiseComparison
from scoring.times import Mode

_NAMED = 3  # longer lists of names are counts


def verdict(analysis: Analysis) -> str:
    """Who leads, from whom the leader is distinguished, and how many more studies would distinguish another."""
    sentences = [_leader(analysis), _more_studies(analysis), _doubt(analysis)]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def _leader(analysis: Analysis) -> str:
    rows = analysis.leaderboard
    if len(rows) == 1:
        return f"{rows[0].submission} is alone on the board, with a score of {rows[0].score:.3f}"
    if rows[0].score <= 0:
        return "Nobody leads: no submission reached a target that counts"
    first = [row.submission for row in rows if row.rank == 1]
    by = " by AlgoPerf's scorer" if analysis.board.mode is Mode.ALGOPERF else ""
    if len(first) > 1:
        return f"{_listed(first)} lead{by} with equal scores{_claims(analysis)}"
    better = _by_name(analysis, first[0])
    others = [row.submission for row in rows[1:]]
    beaten = [name for name in others if better[name] > 0]
    worse_than = [name for name in others if better[name] < 0]
    if worse_than:  # only where the order is AlgoPerf's and the comparison that of the written rules
        verb = "is" if len(worse_than) == 1 else "are"
        return f"{first[0]} leads{by}; by the written rules {_listed(worse_than)} {verb} better"
    if not beaten:
        return f"{first[0]} leads{by} but is distinguished from nobody{_claims(analysis)}"
    if len(beaten) == len(others):
        return f"{first[0]} leads{by}, distinguished from {'all others' if len(others) > 1 else others[0]}"
    rest = [name for name in others if name not in beaten]
    if len(beaten) <= _NAMED:
        return f"{first[0]} leads{by}; distinguished from {_listed(beaten)} only"
    if len(rest) <= _NAMED:
        return f"{first[0]} leads{by}; distinguished from all but {_listed(rest)}"
    return f"{first[0]} leads{by}; distinguished from {len(beaten)} of {len(others)} others"


def _claims(analysis: Analysis) -> str:
    """How many pairs are distinguished where the leader is not."""
    distinguished, pairs = int(analysis.separation.better.sum()), len(analysis.comparisons)
    return f"; of {pairs} pairs, {distinguished or 'none'} {'is' if distinguished <= 1 else 'are'} distinguished"


def _by_name(analysis: Analysis, leader: str) -> dict[str, int]:
    """1 for whom the leader beats, -1 for who beats the leader, 0 for the others."""
    names, better = analysis.rules_board.submissions, analysis.separation.better
    i = names.index(leader)
    return {name: int(better[i, j]) - int(better[j, i]) for j, name in enumerate(names)}


def _more_studies(analysis: Analysis) -> str:
    """What the open pair of the leader that needs the fewest studies would take."""
    leader, studies = analysis.leaderboard[0], analysis.board.tuning.studies
    if leader.score <= 0:
        return ""
    pairs = [c for c in analysis.comparisons if leader.submission in (c.a, c.b)]
    if pairs and studies < 2:
        return "One study of each cannot distinguish anybody: the spread between studies is unknown"
    reachable = [c for c in pairs if c.verdict is None and math.isfinite(c.studies_needed_low)]
    if not reachable:
        return ""
    nearest = min(reachable, key=lambda c: (c.studies_needed_high, c.studies_needed_low, c.a, c.b))
    rival = nearest.b if nearest.a == leader.submission else nearest.a
    amount, is_one = _more(nearest, studies)
    return f"{amount} more {'study' if is_one else 'studies'} of each would likely distinguish it from {rival}"


def _more(comparison: PairwiseComparison, studies: int) -> tuple[str, bool]:
    """Further studies in words, and whether that is a single one."""
    low = max(1, int(comparison.studies_needed_low) - studies)
    if not np.isfinite(comparison.studies_needed_high):
        return f"{low} or", False
    high = max(low, int(comparison.studies_needed_high) - studies)
    return (f"{low}", low == 1) if low == high else (f"{low} to {high}", False)


def _doubt(analysis: Analysis) -> str:
    errors = sum(finding.severity is Severity.ERROR for finding in analysis.findings)
    if not errors:
        return ""
    return f"{errors} finding{'s' * (errors > 1)} about the runs put{'s' * (errors == 1)} all of this in doubt"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return f"{len(names)} submissions"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
