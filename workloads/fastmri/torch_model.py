"""U-Net and structural similarity in PyTorch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.initializers import lecun_normal_, zeros_
from workloads.common.torch.model import TorchModel
from workloads.common.torch.weights import Entry
from workloads.fastmri.definition import UNetConfig
from workloads.fastmri.ssim import COVARIANCE_FACTOR, K1, K2, WINDOW

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "tanh": torch.tanh,
}


def instance_norm(x: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Normalises each channel of each image over height and width; biased variance, no parameters."""
    return F.instance_norm(x, eps=epsilon)


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution, norm, activation, dropout of whole channels."""

    def __init__(self, in_channels: int, features: int, model: UNetConfig) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[model.activation]
        self._layer_norm = model.norm == "layer"
        for number in range(2):
            conv = nn.Conv2d(features if number else in_channels, features, 3, padding=1, bias=False)
            lecun_normal_(conv.weight)
            self.add_module(f"conv_{number}", conv)
            if self._layer_norm:
                # One group of all channels: a layer norm over channels, height and width.
                self.add_module(f"norm_{number}", nn.GroupNorm(1, features, eps=1e-6))

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        for number in range(2):
            x = getattr(self, f"conv_{number}")(x)
            x = getattr(self, f"norm_{number}")(x) if self._layer_norm else instance_norm(x)
            x = self._activation(x)
            if self.training and dropout_rate > 0:
                x = F.dropout2d(x, dropout_rate)
        return x

    def weight_map(self, prefix: str, path: str) -> Iterator[Entry]:
        for number in range(2):
            yield from weights.conv(f"{prefix}.conv_{number}", f"{path}/Conv_{number}", bias=False)
            if self._layer_norm:
                yield from weights.norm(f"{prefix}.norm_{number}", f"{path}/LayerNorm_{number}")


class TransposeConvBlock(nn.Module):
    """2x2 transposed convolution of stride 2, instance norm, activation."""

    def __init__(self, in_channels: int, features: int, model: UNetConfig) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[model.activation]
        self.conv = nn.ConvTranspose2d(in_channels, features, 2, 2, bias=False)
        lecun_normal_(self.conv.weight, fan_in=4 * in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._activation(instance_norm(self.conv(x)))


class UNet(nn.Module):
    def __init__(self, model: UNetConfig) -> None:
        super().__init__()
        widths = [model.channels * 2**level for level in range(model.pool_layers + 1)]
        inputs = [1, *widths[:-1]]
        levels = range(model.pool_layers - 1, -1, -1)
        self.down = nn.ModuleList(ConvBlock(inputs[i], widths[i], model) for i in range(model.pool_layers))
        self.bottom = ConvBlock(widths[-2], widths[-1], model)
        self.up_transposes = nn.ModuleList(TransposeConvBlock(widths[i + 1], widths[i], model) for i in levels)
        self.up = nn.ModuleList(ConvBlock(2 * widths[i], widths[i], model) for i in levels)
        self.output_conv = nn.Conv2d(widths[0], 1, 1)
        lecun_normal_(self.output_conv.weight)
        zeros_(self.output_conv.bias)

    def forward(self, images: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Returns reconstructions [batch, height, width] of `images` [batch, height, width]."""
        x = images[:, None]
        skips = []
        for block in self.down:
            x = block(x, dropout_rate)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.bottom(x, dropout_rate)
        for transpose, block in zip(self.up_transposes, self.up, strict=True):
            x, skip = transpose(x), skips.pop()
            if x.shape != skip.shape:
                x = F.pad(x, (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]), mode="reflect")
            x = block(torch.cat([x, skip], 1), dropout_rate)
        reconstructions: Tensor = self.output_conv(x)[:, 0]
        return reconstructions

    def weight_map(self) -> Iterator[Entry]:
        """Names and layouts of all tensors in terms of the Flax model."""
        pool_layers = len(self.down)
        for number, block in enumerate([*self.down, self.bottom, *self.up]):
            if number < pool_layers:
                prefix = f"down.{number}"
            else:
                prefix = "bottom" if number == pool_layers else f"up.{number - pool_layers - 1}"
            yield from block.weight_map(prefix, f"ConvBlock_{number}")
        for number in range(pool_layers):
            flax_path = f"TransposeConvBlock_{number}/ConvTranspose_0"
            yield from weights.conv_transpose(f"up_transposes.{number}.conv", flax_path, bias=False)
        yield from weights.conv("output_conv", "Conv_0")


def structural_similarity(x: Tensor, y: Tensor, data_range: Tensor) -> Tensor:
    """Mean structural similarity [batch] of x and y [batch, height, width], intensities up to data_range [batch].

    As `skimage.metrics.structural_similarity(win_size=7, data_range=...)`. Source: Wang et al., Image Quality
    Assessment, 2004, equation 13, with a uniform window and sample covariances.
    """

    def window_mean(image: Tensor) -> Tensor:
        return F.avg_pool2d(image[:, None], WINDOW, stride=1)[:, 0]

    # Variances do not change under a shift, and are more exact in float32 near zero.
    shift = y.mean((1, 2), keepdim=True)
    x, y = x - shift, y - shift
    mean_x, mean_y = window_mean(x), window_mean(y)
    var_x = COVARIANCE_FACTOR * (window_mean(x * x) - mean_x**2)
    var_y = COVARIANCE_FACTOR * (window_mean(y * y) - mean_y**2)
    cov = COVARIANCE_FACTOR * (window_mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + shift, mean_y + shift
    c1, c2 = (K1 * data_range).square()[:, None, None], (K2 * data_range).square()[:, None, None]
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean((1, 2)).clamp(-1, 1)


class FastMRIModel(TorchModel):
    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `loss` (of normalised intensities) and `ssim` (of measured ones), each [batch]."""
        targets = batch["targets"]
        mean, std = batch["mean"][:, None, None], batch["std"][:, None, None]
        data_range = torch.where(batch["volume_max"] == 0, 1, batch["volume_max"])
        similarity = structural_similarity(logits * std + mean, targets * std + mean, data_range)
        return {**super().outputs(logits, batch), "ssim": similarity}


def build(definition: WorkloadDefinition) -> FastMRIModel:
    return FastMRIModel(definition, lambda: UNet(definition.model), output_layer="output_conv")
