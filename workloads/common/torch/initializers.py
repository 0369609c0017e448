"""Initial distributions, drawn in place from PyTorch's global generator; the same distributions as the JAX models'."""

import math

import torch
from torch import Tensor, nn

# Standard deviation of a unit normal truncated to [-2, 2].
_TRUNCATED_STDDEV = 0.87962566103423978


def lecun_normal_(tensor: Tensor, fan_in: int | None = None) -> Tensor:
    """Normal truncated at two sigma, of variance 1 / fan_in after truncation (Flax's default for kernels).

    `fan_in` defaults to that of a Linear or Conv weight [out, in, ...].
    """
    fan_in = fan_in if fan_in is not None else tensor[0].numel()
    stddev = math.sqrt(1 / fan_in) / _TRUNCATED_STDDEV
    return nn.init.trunc_normal_(tensor, std=stddev, a=-2 * stddev, b=2 * stddev)


def xavier_uniform_(tensor: Tensor, fan_in: int | None = None, fan_out: int | None = None) -> Tensor:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)); fans default to those of a Linear or Conv weight [out, in, ...]."""
    positions = tensor[0, 0].numel() if tensor.ndim >= 2 else 1
    fan_in = fan_in if fan_in is not None else tensor.shape[1] * positions
    fan_out = fan_out if fan_out is not None else tensor.shape[0] * positions
    limit = math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -limit, limit)


def normal_(tensor: Tensor, stddev: float) -> Tensor:
    return nn.init.normal_(tensor, std=stddev)


def zeros_(tensor: Tensor | None) -> None:
    """Fills with zeros; None, the bias of a layer without one, is left alone."""
    if tensor is not None:
        nn.init.zeros_(tensor)


def uniform_(tensor: Tensor, low: float, high: float) -> Tensor:
    """Uniform on [low, high); the usual choice for embedding tables."""
    return nn.init.uniform_(tensor, low, high)


@torch.no_grad()
def lecun_normal_modules_(module: nn.Module) -> None:
    """Gives every Linear and Conv below `module` Flax's defaults: `lecun_normal_` weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            lecun_normal_(layer.weight)
            zeros_(layer.bias)
