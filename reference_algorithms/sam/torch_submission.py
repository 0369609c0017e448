"""SAM around AdamW in PyTorch."""

import functools
from collections.abc import Callable
from typing import Any

import pytorch_optimizer
import torch

from reference_algorithms.common import schedules, torch_step


class SharpnessAwareAdamW(pytorch_optimizer.SAM):
    """Sharpness-aware minimisation (Foret et al. 2021, algorithm 1, 2-norm) in one call.

    The second gradient leaves the running batch statistics alone. It is clipped; clipping the first changes nothing,
    because that one is normalised.
    """

    def step(self, closure: Callable[..., Any] | None = None) -> Any:
        if closure is None:
            raise ValueError("sharpness-aware minimisation needs a closure that computes gradients")
        closure()
        super().step(functools.partial(closure, update_batch_norm=False))


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """Sharpness-aware minimisation around AdamW."""
    return SharpnessAwareAdamW(
        model.parameters(),
        torch.optim.AdamW,
        rho=hyperparameters.rho,
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        eps=1e-8,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
