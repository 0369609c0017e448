"""AdEMAMix in PyTorch."""

from typing import Any

import pytorch_optimizer
import torch

from reference_algorithms.ademamix.slow_average import beta3
from reference_algorithms.common import schedules, torch_step


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """AdEMAMix (Pagliardini et al. 2024, algorithm 1); both of its warm-ups last until the step hint."""
    return pytorch_optimizer.AdEMAMix(
        model.parameters(),
        betas=(
            1.0 - hyperparameters.one_minus_beta1,
            hyperparameters.beta2,
            beta3(hyperparameters, workload.step_hint),
        ),
        alpha=hyperparameters.alpha,
        t_alpha_beta3=workload.step_hint,
        weight_decay=hyperparameters.weight_decay,
        weight_decouple=True,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
