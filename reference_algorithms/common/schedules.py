"""Learning-rate schedules: one definition that both frameworks evaluate.

A schedule is called with the number of updates already made. With `xp=jax.numpy` it can be traced; NumPy is the
default. With a warm-up the first update has the learning rate 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up from 0 to `peak`, then `peak` times `decay`; in steps.

    Subclasses give the decay.
    """

    peak: float
    warmup_steps: int
    decay_steps: int

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """Returns the learning rate of update number `step`, counted from 0."""
        warmup = step / max(self.warmup_steps, 1)
        progress = xp.clip((step - self.warmup_steps) / max(self.decay_steps, 1), 0.0, 1.0)
        return self.peak * xp.where(step < self.warmup_steps, warmup, self.decay(progress, xp))

    def decay(self, progress: Any, xp: Any) -> Any:
        """Factor on the peak; `progress` runs from 0 to 1 over `decay_steps`, and stays at 1."""
        raise NotImplementedError


class Cosine(Schedule):
    """Half a cosine, from 1 to 0 (Loshchilov & Hutter 2017, SGDR, equation 5, one cycle)."""

    def decay(self, progress: Any, xp: Any) -> Any:
        return 0.5 * (1.0 + xp.cos(np.pi * progress))


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """A straight line from 1 to `end_factor`."""

    end_factor: float

    def decay(self, progress: Any, xp: Any) -> Any:
        return 1.0 - (1.0 - self.end_factor) * progress


class Constant(Schedule):
    """1 for ever."""

    def decay(self, progress: Any, xp: Any) -> Any:
        return xp.ones_like(progress)


def cosine(hyperparameters: Any, num_steps: int) -> Schedule:
    """Warm-up over `warmup_factor` of the schedule, then a cosine to 0 at its end: `schedule_steps`, or `num_steps`."""
    warmup, decay = _phases(hyperparameters, num_steps)
    return Cosine(peak=hyperparameters.learning_rate, warmup_steps=warmup, decay_steps=decay)


def linear(hyperparameters: Any, num_steps: int) -> Schedule:
    """Warm-up, then a line to `end_factor` over `decay_steps_factor` of the remaining steps, then constant."""
    warmup, decay = _phases(hyperparameters, num_steps)
    return Linear(
        peak=hyperparameters.learning_rate,
        warmup_steps=warmup,
        decay_steps=int(decay * hyperparameters.decay_steps_factor),
        end_factor=hyperparameters.end_factor,
    )


def constant(hyperparameters: Any, num_steps: int) -> Schedule:
    """Warm-up over `warmup_factor` of the schedule, then constant."""
    warmup, decay = _phases(hyperparameters, num_steps)
    return Constant(peak=hyperparameters.learning_rate, warmup_steps=warmup, decay_steps=decay)


def _phases(hyperparameters: Any, num_steps: int) -> tuple[int, int]:
    """Steps of warm-up and of what follows; a point that has `schedule_steps` is scheduled over these."""
    length = int(getattr(hyperparameters, "schedule_steps", num_steps))
    warmup = int(hyperparameters.warmup_factor * length)
    return warmup, length - warmup
