"""Distributed Shampoo in PyTorch."""

from typing import Any

import torch

from reference_algorithms.common import schedules, torch_step
from reference_algorithms.common.torch_optimizer import layout_groups
from reference_algorithms.shampoo.settings import shampoo_settings
from reference_algorithms.shampoo.torch_shampoo import Shampoo


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """Shampoo with blocks, grafted to normalised RMSProp."""
    return Shampoo(
        layout_groups(model, workload),
        beta1=1.0 - hyperparameters.one_minus_beta1,
        beta2=hyperparameters.beta2,
        weight_decay=hyperparameters.weight_decay,
        settings=shampoo_settings(hyperparameters),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
