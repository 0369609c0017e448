"""Lion in PyTorch."""

from typing import Any

import pytorch_optimizer
import torch

from reference_algorithms.common import schedules, torch_step


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """Lion (Chen et al. 2023, algorithm 2)."""
    return pytorch_optimizer.Lion(
        model.parameters(),
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
        weight_decouple=True,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
