"""Microbatches in PyTorch: a module that computes its batch in parts and keeps activations of one part at a time."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from algoperf.backends.base import Model
from algoperf.backends.microbatches import num_microbatches
from algoperf.pytorch_utils import unwrapped


class MicrobatchedModel:
    """`model` whose module takes at most `max_rows` rows of its arguments at a time; see `Microbatched`."""

    def __init__(self, model: Model, max_rows: int) -> None:
        self.whole = model
        self.max_rows = max_rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def init(self, rng: Any) -> tuple[nn.Module, Any]:
        module, model_state = self.whole.init(rng)
        return in_parts(module, self.max_rows), model_state


class Microbatched(nn.Module):
    """Base of the classes that `in_parts` makes. The backward pass computes each part's forward pass again.

    Logits, losses and gradients are those of the whole batch; dropout draws other masks.
    """

    _max_rows: int

    def forward(self, *arguments: torch.Tensor | None, **options: Any) -> torch.Tensor:
        rows = next(len(argument) for argument in arguments if argument is not None)
        count = num_microbatches(rows, self._max_rows)
        if count == 1:
            whole: torch.Tensor = super().forward(*arguments, **options)
            return whole
        split = [(None,) * count if a is None else a.chunk(count) for a in arguments]
        return torch.cat([self._part(part, options) for part in zip(*split, strict=True)])

    def _part(self, arguments: tuple[torch.Tensor | None, ...], options: dict[str, Any]) -> torch.Tensor:
        if not torch.is_grad_enabled():
            logits: torch.Tensor = super().forward(*arguments, **options)
            return logits
        logits = checkpoint(super().forward, *arguments, use_reentrant=False, **options)
        return logits


def in_parts(module: nn.Module, max_rows: int) -> nn.Module:
    """`module` itself, from now on of a class that computes in parts; names of parameters stay as they are."""
    cls = type(module)
    module.__class__ = type(cls.__name__, (Microbatched, cls), {"_max_rows": max_rows})
    return module


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether some layer normalises by the batch; those of the workloads have this switch."""
    return any(hasattr(layer, "update_running_stats") for layer in unwrapped(module).modules())
