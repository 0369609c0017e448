"""Error and cost of `algoperf.compare` on simulated boards, against a design of a fixed number of pairs.

  python benchmarks/compare_coverage.py [--boards=4000] [--pairs=64]

A board is eight minis in rounds, paired by seed. A run's log time to target is that of its algorithm on the mini, plus
the seed's, which both runs of a pair share, plus its own; a run misses at times, and a ratio counts at most as
`MAX_RATIO`. The scatter is that of the kept board's reference runs unless given. Prints the share of boards with a
verdict where there is no difference, and for given ratios the share decided and the median number of pairs, next to the
number of pairs that a t test planned for 80 % power needs.
"""

import argparse
import math

import numpy as np

from algoperf.comparison import betting
from algoperf.comparison.pairs import MAX_RATIO

WORKLOADS = 8
OWN_SCATTER = 0.12  # standard deviation of a log time, given the seed; within algorithms of the kept board: 0.08 to 0.2
SEED_SCATTER = 0.15
MISS_CHANCE = 0.03
PROCEDURE_BOARDS, PROCEDURE_PAIRS = 200, 32  # as many pairs as 90 minutes of minis have room for
RATIOS = (0.95, 0.9, 0.8, 0.67, 0.5)


def outcomes(
    generator: np.random.Generator,
    boards: int,
    pairs: int,
    *,
    ratio: float = 1.0,
    spread: float = 0.0,
    own_scatter: float = OWN_SCATTER,
    miss_chance: float = MISS_CHANCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the outcomes of simulated pairs, (low, high), float [boards, pairs] in [-1, 1].

    Args:
      generator: of the draws.
      boards, pairs: how many.
      ratio: time of the first over that of the other.
      spread: standard deviation over the minis of the log ratio, which is drawn for each board about `ratio`.
      own_scatter: standard deviation of a run's own log time.
      miss_chance: of each run, independently.
    """
    deviations = generator.standard_normal((boards, WORKLOADS))
    effect = -math.log(ratio) + spread * (deviations - deviations.mean(axis=-1, keepdims=True))
    effect = np.tile(effect, (1, -(-pairs // WORKLOADS)))[:, :pairs]
    seed = SEED_SCATTER * generator.standard_normal((boards, pairs))
    mine = seed - effect + own_scatter * generator.standard_normal((boards, pairs))
    against = seed + own_scatter * generator.standard_normal((boards, pairs))
    cut = np.clip((against - mine) / math.log(MAX_RATIO), -1, 1)
    mine_missed, against_missed = generator.random((2, boards, pairs)) < miss_chance
    low = np.where(mine_missed, -1.0, np.where(against_missed, 1.0, cut))
    high = low.copy()
    both = mine_missed & against_missed
    return np.where(both, 0.0, low), np.where(both, 0.0, high)


def decided(low: np.ndarray, high: np.ndarray) -> tuple[float, float, float]:
    """(share of boards called faster, share called slower, median number of pairs to a verdict)."""
    faster, slower = betting.decided_after(low, high)
    pairs = low.shape[-1]
    return (
        float(np.mean((faster <= pairs) & (faster < slower))),
        float(np.mean((slower <= pairs) & (slower <= faster))),
        float(np.median(np.minimum(faster, slower))),
    )


def procedure(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """(share of boards decided, median pairs) where a comparison also ends once a verdict is not to be expected."""
    boards = len(low)
    ends = [_end(*board) for board in zip(low, high, strict=True)]
    return sum(is_decided for is_decided, _ in ends) / boards, float(np.median([count for _, count in ends]))


def _end(low: np.ndarray, high: np.ndarray) -> tuple[bool, int]:
    pairs = low.size
    decided_at = min(map(int, betting.decided_after(low, high)))
    for count in range(min(decided_at, pairs)):
        seen, more = (low[:count], high[:count]), pairs - count
        forecasts = count >= betting.FORECAST_PAIRS
        if not betting.can_be_decided(*seen, more):
            return False, count
        if forecasts and betting.chance_of_verdict(*seen, more) < betting.HOPELESS:
            return False, count
    return decided_at <= pairs, min(decided_at, pairs)


def fixed_design(low: np.ndarray) -> float:
    """Pairs that a two-sided t test at 5 % needs for 80 % power, with mean and scatter known: at least 4."""
    mean, scatter = float(np.mean(low)), float(np.std(low))
    return max(4.0, math.ceil(((1.96 + 0.84) * scatter / mean) ** 2) + 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=64)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    print(f"{options.boards} boards of at most {options.pairs} pairs")
    print("no difference: share of boards with a verdict (at most 0.05)")
    cases = {
        "as the kept board": {},
        "scatter x 3": {"own_scatter": 3 * OWN_SCATTER},
        "a third of the runs miss": {"miss_chance": 1 / 3},
        "minis differ by 20 % each way": {"spread": 0.2},
    }
    for name, case in cases.items():
        faster, slower, _ = decided(*outcomes(generator, options.boards, options.pairs, **case))
        print(f"  {name:32s} faster {faster:.4f}, slower {slower:.4f}, together {faster + slower:.4f}")
    print(f"the whole procedure, {PROCEDURE_BOARDS} boards of at most {PROCEDURE_PAIRS} pairs: decided, median pairs")
    for ratio in (1.0, *RATIOS):
        share, median = procedure(*outcomes(generator, PROCEDURE_BOARDS, PROCEDURE_PAIRS, ratio=ratio))
        print(f"  ratio {ratio:.2f}: {share:.3f}, {median:.0f}")
    print("a difference: share called faster, called slower, median pairs to a verdict, pairs of a fixed design")
    for ratio in RATIOS:
        low, high = outcomes(generator, options.boards, options.pairs, ratio=ratio)
        faster, slower, median = decided(low, high)
        shown = f"{median:.0f}" if median <= options.pairs else f"over {options.pairs}"
        print(f"  ratio {ratio:.2f}: {faster:.3f}, {slower:.4f}, {shown}, {fixed_design(low):.0f}")


if __name__ == "__main__":
    main()
