"""How long AdEMAMix's slow average of gradients remembers, in both frameworks."""

from typing import Any


def beta3(hyperparameters: Any, step_hint: int) -> float:
    """The decay of the slow average at the end of its warm-up: it remembers `slow_average_factor` of the step hint.

    Pagliardini et al. 2024 train for 256,000 steps at 0.9999, so that it remembers 10,000 of them, a factor of 0.04. A
    decay of that kind outlasts a run of a thousand steps, whose first gradients would count to its end.
    """
    return 1.0 - 1.0 / max(float(hyperparameters.slow_average_factor) * step_hint, 1.0)
