"""Calls of a module with the benchmark's rules about modes and batch statistics."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from workloads.common.torch.batch_norm import BatchNorm


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


def unwrapped(module: nn.Module) -> nn.Module:
    """The workload's own module below DistributedDataParallel and torch.compile wrappers."""
    while True:
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module = module.module
        elif hasattr(module, "_orig_mod"):
            module = module._orig_mod
        else:
            return module
