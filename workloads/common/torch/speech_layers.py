"""Layers that the speech models share. Shapes: B utterances, T steps, F bins, C channels, D features.

Paddings [B, T] are 1 where there is nothing.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.common.librispeech.features import NUM_BINS
from workloads.common.torch import weights
from workloads.common.torch.batch_norm import BatchNorm
from workloads.common.torch.initializers import xavier_uniform_

_STRIDE = 2


def mask(inputs: Tensor, paddings: Tensor) -> Tensor:
    """Zeroes `inputs` [B, T, ...] at padded steps."""
    return inputs * (1 - paddings).view(paddings.shape + (1,) * (inputs.ndim - 2))


class LayerNorm(nn.Module):
    """Normalises the last axis; the factor is 1 + `weight`."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.layer_norm(inputs, self.weight.shape, 1 + self.weight, self.bias, eps=1e-6)


def masked_batch_norm(features: int, momentum: float) -> BatchNorm:
    """Batch norm of the speech models, over the real steps of the global batch."""
    return BatchNorm(features, momentum=momentum, epsilon=1e-3, scale_init=0.0, one_plus_scale=True, channel_axis=-1)


class Subsample(nn.Module):
    """Two 3x3 convolutions with stride 2 and a linear layer: features [B, T, F] to [B, T / 4, width] (rounded up)."""

    def __init__(self, channels: int, width: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, _STRIDE)
        self.conv2 = nn.Conv2d(channels, channels, 3, _STRIDE)
        self.linear = nn.Linear(channels * -(-NUM_BINS // _STRIDE**2), width)
        self._activation = activation

    def forward(self, inputs: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the subsampled features and their paddings."""
        outputs = inputs[:, None]
        for conv in (self.conv1, self.conv2):
            outputs = self._activation(conv(_padded(outputs)))
            paddings = paddings[:, ::_STRIDE]
            outputs = outputs * (1 - paddings)[:, None, :, None]
        return self.linear(outputs.permute(0, 2, 3, 1).flatten(2)), paddings


def _padded(inputs: Tensor) -> Tensor:
    """Pads [B, C, T, F] so that a strided convolution gives half of T and F, rounded up; odd zeros go to the end."""
    pads = []
    for size in (inputs.shape[3], inputs.shape[2]):
        total = 1 if size % _STRIDE == 0 else 2
        pads += [total // 2, total - total // 2]
    return F.pad(inputs, pads)


def subsample_entries() -> list[weights.Entry]:
    """Names and layouts of `Subsample` in terms of the Flax model."""
    return [
        *weights.conv("subsample.conv1", "Subsample_0/Conv2dSubsampling_0"),
        *weights.conv("subsample.conv2", "Subsample_0/Conv2dSubsampling_1"),
        *weights.linear("subsample.linear", "Subsample_0/Dense_0"),
    ]


@torch.no_grad()
def xavier_uniform_modules_(module: nn.Module) -> None:
    """Gives every Linear and Conv below `module` Xavier-uniform weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
