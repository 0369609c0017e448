"""Schedule-Free AdamW in PyTorch."""

from typing import Any

import schedulefree
import torch

from reference_algorithms.common import schedules, torch_step


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """Schedule-Free AdamW (Defazio et al. 2024, algorithm 1): warm-up, then a constant rate."""
    optimizer: torch.optim.Optimizer = schedulefree.AdamWScheduleFree(
        model.parameters(),
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        eps=1e-8,
        weight_decay=hyperparameters.weight_decay,
    )
    return optimizer


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.constant
)
