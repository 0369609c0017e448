"""How far two lists of scores put the same entrants in the same order.

Source: Kendall, "The treatment of ties in ranking problems" (1945): tau-b.
"""

import itertools
import math

import numpy as np

_MOST_ORDERS = 5_040


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Tau-b [...] of scores [..., n] and [..., n]: 1 the same order, -1 the reverse; NaN where one has ties only."""
    a, b = pair_signs(first), pair_signs(second)
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        tau: np.ndarray = (a * b).sum(axis=-1) / scale
    return tau


def pair_signs(scores: np.ndarray) -> np.ndarray:
    """Signs [..., n (n - 1) / 2] of the difference of every pair of scores [..., n], 0 for a tie."""
    rounded = np.round(np.asarray(scores, float), 12)
    i, j = np.triu_indices(rounded.shape[-1], 1)
    signs: np.ndarray = np.sign(rounded[..., i] - rounded[..., j])
    return signs


def chance_of_as_high_a_tau(first: np.ndarray, second: np.ndarray, *, seed: int) -> float:
    """One-sided p-value of tau: the share of orders of `second` [n] that agree as well with `first` [n].

    Over all orders where these are at most 5,040 (seven entrants), else over 9,999 random ones and the observed.
    """
    count = len(second)
    exhaustive = math.factorial(count) <= _MOST_ORDERS
    if exhaustive:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        random = np.random.default_rng(seed)
        orders = np.concatenate(([np.arange(count)], random.permuted(np.tile(np.arange(count), (9_999, 1)), axis=1)))
    taus = kendall_tau(np.asarray(first)[None], np.asarray(second)[orders])
    return float((taus >= kendall_tau(first, second) - 1e-9).mean())
