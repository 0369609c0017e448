"""How long AdEMAMix's slow average of gradients remembers, in both frameworks."""

from typing import Any


def beta3(hyperparameters: Any, step_hint: int) -> float:
    """The decay of the slow average at the end of its warm-up.

    It is the hyperparameter `beta3` where there is one. Otherwise the average remembers `slow_average_factor` of the
    step hint: Pagliardini et al. 2024 train for 256,000 steps at 0.9999, so that it remembers 10,000, a factor of 0.04.
    A fixed decay of that kind outlasts a run of a thousand steps, whose first gradients then count to its end.
    """
    fixed = getattr(hyperparameters, "beta3", None)
    return float(fixed) if fixed is not None else 1.0 - 1.0 / max(hyperparameters.slow_average_factor * step_hint, 1.0)
