"""A board: the times, ratios and scores of all submissions under one rule set, in one of two modes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scoring.logs import LogsError, LogTree
from scoring.matrix import performance_ratios, qualified_times
from scoring.profiles import exact_score, exact_shares, grid_score
from scoring.rules import Rules, TuningRule
from scoring.times import Mode, TimeTable, algoperf_times, rules_times


@dataclass(frozen=True, kw_only=True)
class Board:
    """Scores and what they are made of.

    Shapes: n submissions, b base workloads.

    Attributes:
      times: times to target before any filter.
      qualified_s: [n, b] times that count.
      ratios: [n, b] over the fastest.
      scores: [n], each in [0, 1].
    """

    mode: Mode
    rules: Rules
    tuning: TuningRule
    times: TimeTable
    qualified_s: np.ndarray
    ratios: np.ndarray
    scores: np.ndarray

    @property
    def submissions(self) -> tuple[str, ...]:
        return self.times.submissions

    @property
    def title(self) -> str:
        """Rules, tuning and mode, and whose budgets count where these are not the rules'."""
        budgets = "" if self.rules.stated is None else ", budgets as the runs recorded them"
        clock = "" if self.rules.clock == "seconds" else f", times in {self.rules.unit}"
        return f"rules {self.rules.name}, {self.tuning.name} tuning, mode {self.mode}{budgets}{clock}"

    @property
    def budgets_s(self) -> np.ndarray:
        """[w] budgets of `times.workloads`, the tuning ruleset's factor included."""
        limits = [self.rules.workloads[w].max_runtime_s for w in self.times.workloads]
        return self.tuning.budget_factor * np.array(limits)

    def ranking(self) -> list[int]:
        """Positions of submissions from best to worst; equal scores in the order of names."""
        return sorted(
            range(len(self.submissions)), key=lambda i: (-round(float(self.scores[i]), 12), self.submissions[i])
        )

    def ranks(self) -> np.ndarray:
        """[n] competition ranks from 1; equal scores share the better rank."""
        return competition_ranks(self.scores)


def competition_ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 along the last axis: one more than the number of strictly larger scores. [..., n] gives [..., n]."""
    rounded = np.round(scores, 12)
    ranks: np.ndarray = 1 + (rounded[..., None, :] > rounded[..., :, None]).sum(axis=-1)
    return ranks


def make_board(tree: LogTree, rules: Rules, tuning: TuningRule, mode: Mode) -> Board:
    """Scores the logs. Raises LogsError when there is no submission."""
    if not tree.submissions:
        raise LogsError("no submission is left to score")
    times = rules_times(tree, rules, tuning) if mode is Mode.RULES else algoperf_times(tree, rules)
    qualified = qualified_times(
        times.workload_s, times.workloads, rules.base_workloads, held_out(times.workloads, rules), rules.cutoff_factor
    )
    ratios = performance_ratios(qualified)
    score = exact_score if mode is Mode.RULES else grid_score
    return Board(
        mode=mode,
        rules=rules,
        tuning=tuning,
        times=times,
        qualified_s=qualified,
        ratios=ratios,
        scores=score(ratios, rules.tau_max),
    )


def held_out(workloads: Sequence[str], rules: Rules) -> Mapping[str, str]:
    """Extra workload -> the base workload it held_out, for every workload that is not itself a base workload."""
    base = set(rules.base_workloads)
    base_of = {w: rules.held_out.get(w, rules.workloads[w].base) for w in workloads if w not in base}
    return {extra: guarded for extra, guarded in base_of.items() if guarded in base}


def workload_scores(workload_s: np.ndarray, workloads: Sequence[str], rules: Rules) -> np.ndarray:
    """Shares [..., n, b] of the exact scores, whose mean over base workloads is the score, of times [..., n, w]."""
    qualified = qualified_times(workload_s, workloads, rules.base_workloads, rules.held_out, rules.cutoff_factor)
    return exact_shares(performance_ratios(qualified), rules.tau_max)


def score_times(workload_s: np.ndarray, workloads: Sequence[str], rules: Rules) -> np.ndarray:
    """Exact scores [..., n] of times [..., n, w] by the written rules; leading axes are independent boards."""
    scores: np.ndarray = workload_scores(workload_s, workloads, rules).mean(axis=-1)
    return scores
