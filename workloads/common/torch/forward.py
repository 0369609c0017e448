"""Calls of a module with the benchmark's rules about modes and batch statistics."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from algoperf.pytorch_utils import unwrapped
from workloads.common.torch.batch_norm import BatchNorm

__all__ = ["forward_mode", "unwrapped"]


@contextlib.contextmanager
def forward_mode(module: nn.Module, *, train: bool, update_batch_norm: bool) -> Iterator[None]:
    """Puts `module` (wrapped or not) into the mode that a forward pass asks for.

    | train | update_batch_norm | normalises with | running statistics | gradients |
    |---|---|---|---|---|
    | yes | yes | the batch | change | as outside |
    | yes | no | the batch | stay | as outside |
    | no | any | running | stay | none |
    """
    if module.training != train:
        module.train(train)
    if train:
        for layer in module.modules():
            if isinstance(layer, BatchNorm):
                layer.update_running_stats = update_batch_norm
    with contextlib.nullcontext() if train else torch.no_grad():
        yield
