"""Adafactor in PyTorch."""

from typing import Any

import torch

from reference_algorithms.adafactor.torch_adafactor import Adafactor
from reference_algorithms.common import schedules, torch_step
from reference_algorithms.common.torch_optimizer import layout_groups


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """Adafactor with momentum and without parameter scaling."""
    return Adafactor(
        layout_groups(model, workload),
        beta1=1.0 - hyperparameters.one_minus_beta1,
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
