"""What a row of every ranked table says."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RankedRow:
    """One submission. Limits are 95 % confidence limits of the score by the written rules.

    The sets of ranks of all rows hold together at 95 %; members of different tie groups are resolved from each other.
    """

    submission: str
    score: float
    score_low: float
    score_high: float
    rank: int
    rank_low: int
    rank_high: int
    tie_group: int
