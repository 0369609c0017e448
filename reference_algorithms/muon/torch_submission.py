"""Muon in PyTorch."""

from typing import Any

import torch

from reference_algorithms.common import schedules, torch_step
from reference_algorithms.muon.torch_muon import Muon, muon_groups


def make_optimizer(model: torch.nn.Module, hyperparameters: Any, workload: Any) -> torch.optim.Optimizer:
    """Muon for matrices, NadamW for embeddings, the output layer and vectors."""
    return Muon(
        muon_groups(model, workload),
        momentum=1.0 - hyperparameters.one_minus_momentum,
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        weight_decay=hyperparameters.weight_decay,
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
