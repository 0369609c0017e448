"""Published boards as data: scores and times to target as facts, each with its source.

python -m scoring.published [NAME]    # the boards, or one of them
"""

import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np

from scoring.rules import RULE_SETS, RulesError

SCHEMA_VERSION = 1


class PublishedBoardError(ValueError):
    """A published board is unknown, malformed, or cannot do what is asked."""


@dataclass(frozen=True, kw_only=True)
class PublishedBoard:
    """A board that was published elsewhere.

    Attributes:
      name, title: for commands and for tables.
      source: where the numbers come from.
      rules, tuning: rule set and tuning ruleset that it was made under.
      hardware: what its runs were made on.
      complete: whether every submission of the board is here.
      scores: published scores.
      scores_by_steps: published scores from steps to target instead of times; empty where there are none.
      times_s: submission -> workload -> seconds to target, the median of its studies; a workload without one is a miss.
        Empty where no times are published.
    """

    name: str
    title: str
    source: str
    rules: str
    tuning: str
    hardware: str
    complete: bool
    scores: Mapping[str, float]
    scores_by_steps: Mapping[str, float] = field(default_factory=dict)
    times_s: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rules not in RULE_SETS:
            raise PublishedBoardError(f"{self.name}: expected rules among {', '.join(RULE_SETS)}, got {self.rules!r}")
        for name, score in (*self.scores.items(), *self.scores_by_steps.items()):
            if not 0 <= score <= 1:
                raise PublishedBoardError(f"{self.name}: expected a score of {name} in [0, 1], got {score}")
        for name, times in self.times_s.items():
            if name not in self.scores or not all(math.isfinite(t) and t > 0 for t in times.values()):
                raise PublishedBoardError(f"{self.name}: {name} needs a score and positive times in seconds")

    @property
    def submissions(self) -> tuple[str, ...]:
        """From the best score to the worst."""
        return tuple(sorted(self.scores, key=lambda name: (-self.scores[name], name)))

    def time_matrix(self, workloads: tuple[str, ...]) -> np.ndarray:
        """Times [n, w] of `submissions`, inf for a miss. Raises PublishedBoardError where no times are published."""
        if set(self.times_s) != set(self.scores):
            raise PublishedBoardError(
                f"the board {self.name} has scores and no times to target, so nobody can be placed on it; "
                f"`python -m scoring.published {self.name}` lists it, {', '.join(boards_with_times())} can be placed on"
            )
        return np.array([[self.times_s[s].get(w, math.inf) for w in workloads] for s in self.submissions])


@functools.cache
def board_names() -> tuple[str, ...]:
    """Names of the boards that are shipped."""
    files = (entry.name for entry in resources.files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def boards_with_times() -> tuple[str, ...]:
    """Names of the boards on which a newcomer can be placed."""
    return tuple(name for name in board_names() if published_board(name).times_s)


@functools.cache
def published_board(name: str) -> PublishedBoard:
    """The shipped board of that name. Raises PublishedBoardError when there is none, or when it is malformed."""
    if name not in board_names():
        raise PublishedBoardError(f"no published board {name!r}; there are {', '.join(board_names())}")
    raw: dict[str, Any] = tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8"))
    if raw.pop("schema_version", None) != SCHEMA_VERSION:
        raise PublishedBoardError(f"{name}: expected schema_version = {SCHEMA_VERSION}")
    try:
        return PublishedBoard(name=name, **raw)
    except (TypeError, RulesError) as error:
        raise PublishedBoardError(f"{name}: {error}") from error
