"""A test and an interval on paired outcomes that stay valid however often one looks and whenever one stops.

A gambler with a capital of 1 bets on each outcome before it is seen. If the mean of each outcome, given those before,
is at most the one that is tested, the capital ever reaches 1/a with a chance of at most a (Ville's inequality), so
reaching it rejects that mean at level a. The capital is spread over fixed stakes and each part plays alone, as in the
grid-Kelly bets of Waudby-Smith & Ramdas (2024), Estimating means of bounded random variables by betting, J. R. Stat.
Soc. B 86(1), with more weight on the highest stake.
"""

import enum
from typing import NamedTuple

import numpy as np

ERROR = 0.05  # of a false verdict in either direction: half of it on each side
_LOG_THRESHOLD = float(np.log(2 / ERROR))
# A third of the capital plays the whole stake: it doubles with each outcome at the bound, so that seven alike decide.
# The rest is spread over smaller stakes, for differences that are small against their scatter.
_STAKES = np.array([1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05])
_LOG_WEIGHTS = np.log(np.array([1 / 3] + [2 / 21] * 7))
HOPELESS = 0.05  # chance of a verdict below which more pairs are not worth their time
FORECAST_PAIRS = 8  # fewer say too little of the pairs to come
_NUM_MEANS = 801  # resolution of the interval: 1/400 of the bound


class Verdict(enum.StrEnum):
    """What the outcomes say of the first of a pair, whose outcomes are above 0 where it was faster."""

    FASTER = "faster"
    SLOWER = "slower"
    UNDECIDED = "undecided"


class Interval(NamedTuple):
    low: float
    high: float


def log_capital(outcomes: np.ndarray, mean: float | np.ndarray = 0.0) -> np.ndarray:
    """Logarithm of the capital of bets that the mean is above `mean`, after each outcome.

    Args:
      outcomes: float [..., n] in [-1, 1].
      mean: in (-1, 1), of a shape that broadcasts with `outcomes`.

    Returns:
      float [..., n].
    """
    gains = (np.asarray(outcomes) - mean) / (1 + np.asarray(mean))
    total: np.ndarray = np.full(np.shape(gains), -np.inf)
    with np.errstate(divide="ignore"):
        for stake, log_weight in zip(_STAKES, _LOG_WEIGHTS, strict=True):
            total = np.logaddexp(total, log_weight + np.cumsum(np.log1p(stake * gains), axis=-1))
    return total


def decided_after(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of outcomes after which each verdict stands: (faster, slower), int [...]; one more than n where never.

    Args:
      low, high: float [..., n] in [-1, 1]: what is known of each outcome. The worse end counts on each side.
    """
    return _first(log_capital(low)), _first(log_capital(-np.asarray(high)))


def _first(log_capitals: np.ndarray) -> np.ndarray:
    reached = log_capitals >= _LOG_THRESHOLD
    never = np.ones((*reached.shape[:-1], 1), bool)
    number: np.ndarray = 1 + np.argmax(np.concatenate([reached, never], axis=-1), axis=-1)
    return number


def verdict(low: np.ndarray, high: np.ndarray) -> Verdict:
    """The verdict of outcomes [n], in the order in which they came."""
    faster, slower = decided_after(low, high)
    if min(faster, slower) > np.shape(low)[-1]:
        return Verdict.UNDECIDED
    return Verdict.FASTER if faster < slower else Verdict.SLOWER


def interval(low: np.ndarray, high: np.ndarray) -> Interval:
    """Interval of 95 % for the mean outcome, valid at any time; (-1, 1) where nothing is known.

    Args:
      low, high: as of `decided_after`, [n].
    """
    if not np.size(low):
        return Interval(-1.0, 1.0)
    means = np.linspace(-1, 1, _NUM_MEANS)[1:-1]
    above = means[log_capital(np.asarray(low)[None], means[:, None])[:, -1] >= _LOG_THRESHOLD]
    below = means[log_capital(-np.asarray(high)[None], -means[:, None])[:, -1] >= _LOG_THRESHOLD]
    return Interval(float(above.max(initial=-1.0)), float(below.min(initial=1.0)))


def can_be_decided(low: np.ndarray, high: np.ndarray, more: int) -> bool:
    """Whether `more` outcomes at a bound, all on one side, would give a verdict."""
    best, worst = np.append(low, np.ones(more)), np.append(high, -np.ones(more))
    return bool(min(decided_after(best, best)[0], decided_after(worst, worst)[1]) <= best.size)


def chance_of_verdict(low: np.ndarray, high: np.ndarray, more: int, *, draws: int = 500, seed: int = 0) -> float:
    """Share of boards with a verdict when `more` outcomes are drawn from those so far (with replacement)."""
    chosen = np.random.default_rng(seed).integers(0, np.size(low), (draws, more))
    lows = np.concatenate([np.broadcast_to(low, (draws, np.size(low))), np.asarray(low)[chosen]], axis=-1)
    highs = np.concatenate([np.broadcast_to(high, (draws, np.size(high))), np.asarray(high)[chosen]], axis=-1)
    faster, slower = decided_after(lows, highs)
    return float(np.mean(np.minimum(faster, slower) <= lows.shape[-1]))
