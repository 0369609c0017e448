"""The rivals of a pair that matter to its ratios: few, however many there are."""

from collections.abc import Sequence

import numpy as np

from scoring.board import held_out
from scoring.rules import Rules


class RivalFronts:
    """Reduces the rivals of a pair to the Pareto front of each group of a base workload and what is held out for it.

    A rival that another one beats in the whole group sets no scale: wherever it qualifies, the other one does, and
    faster. Groups do not affect each other, so that the fronts of all groups may share rows.

    Args:
      workload_s: times [t, n, w] of all submissions, inf for a miss, at t targets.
      workloads: names of the columns.
      rules: say what is held out for what.
    """

    def __init__(self, workload_s: np.ndarray, workloads: Sequence[str], rules: Rules) -> None:
        self._times = np.where(np.isnan(workload_s), np.inf, workload_s)
        groups: dict[str, list[int]] = {}
        base_of = held_out(workloads, rules)
        for column, name in enumerate(workloads):
            groups.setdefault(base_of.get(name, name), []).append(column)
        self._groups = list(groups.values())
        self._beats = np.stack([self._beats_in(columns) for columns in self._groups], axis=1)  # [t, groups, n, n]
        self._num_beaten_by = self._beats.sum(axis=-1)

    def without(self, first: int, second: int) -> np.ndarray:
        """Times [t, m, w] of m rows that give every pair without `first` and `second` the ratios that all others do."""
        beaten_by = self._num_beaten_by - self._beats[..., first] - self._beats[..., second]
        on_front = beaten_by == 0
        on_front[..., [first, second]] = False
        rows = on_front.sum(axis=-1).max(initial=0)
        rivals = np.full((self._times.shape[0], rows, self._times.shape[2]), np.inf)
        for target, fronts in enumerate(on_front):
            for columns, front in zip(self._groups, fronts, strict=True):
                members = np.flatnonzero(front)
                rivals[target, : len(members), columns] = self._times[target][members][:, columns].T
        return rivals

    def _beats_in(self, columns: Sequence[int]) -> np.ndarray:
        """Whether the second submission beats the first in a group, ties going to the earlier: bool [t, n, n]."""
        times = self._times[..., columns]
        mine, other = times[:, :, None], times[:, None]
        ties = (mine == other).all(axis=-1)
        earlier = np.tril(np.ones(ties.shape[1:], bool), -1)
        beats: np.ndarray = (other <= mine).all(axis=-1) & (~ties | earlier)
        return beats
