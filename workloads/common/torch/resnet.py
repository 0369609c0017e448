"""Residual networks for images [batch, height, width, channels]; channels become axis 1 in channels-last memory."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.common.torch import weights
from workloads.common.torch.batch_norm import BatchNorm
from workloads.common.torch.initializers import lecun_normal_modules_, normal_
from workloads.common.torch.weights import Entry

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
}


class SameConv(nn.Conv2d):
    """Convolution without bias to ceil(size / stride) positions; an odd pixel of padding is at the end."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        top, bottom = self._padding(inputs.shape[2])
        left, right = self._padding(inputs.shape[3])
        if top == bottom and left == right:
            return F.conv2d(inputs, self.weight, stride=self.stride, padding=(top, left))
        return F.conv2d(F.pad(inputs, (left, right, top, bottom)), self.weight, stride=self.stride)

    def _padding(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


class _Projection(nn.Module):
    """1x1 convolution and batch norm of a shortcut that changes shape."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = SameConv(in_channels, out_channels, 1, stride)
        self.bn = BatchNorm(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        normalised: Tensor = self.bn(self.conv(inputs))
        return normalised


class _Block(nn.Module):
    """Convolutions `conv1`, `conv2`, ..., each with a batch norm, around which a shortcut leads.

    Args:
      kernels: kernel sizes of the convolutions.
      strided: which of them carries the stride.
    """

    expansion: int
    kernels: tuple[int, ...]
    strided: int

    def __init__(
        self, in_channels: int, features: int, stride: int, activation: Callable[[Tensor], Tensor], last_scale: float
    ) -> None:
        super().__init__()
        out_channels = self.expansion * features
        self._activation = activation
        channels = [in_channels] + [features] * (len(self.kernels) - 1) + [out_channels]
        for number, kernel in enumerate(self.kernels):
            conv_stride = stride if number == self.strided else 1
            last = number == len(self.kernels) - 1
            conv = SameConv(channels[number], channels[number + 1], kernel, conv_stride)
            self.add_module(f"conv{number + 1}", conv)
            self.add_module(f"bn{number + 1}", BatchNorm(channels[number + 1], scale_init=last_scale if last else 1.0))
        same_shape = stride == 1 and in_channels == out_channels
        self.downsample = None if same_shape else _Projection(in_channels, out_channels, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs
        for number in range(1, len(self.kernels) + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            if number < len(self.kernels):
                x = self._activation(x)
        return self._activation(x + (inputs if self.downsample is None else self.downsample(inputs)))

    def weight_map(self, prefix: str, path: str) -> Iterator[Entry]:
        """Names and layouts of the tensors below `prefix` in terms of the Flax module at `path`."""
        for number in range(len(self.kernels)):
            yield from weights.conv(f"{prefix}.conv{number + 1}", f"{path}/Conv_{number}", bias=False)
            yield from weights.batch_norm(f"{prefix}.bn{number + 1}", f"{path}/BatchNorm_{number}")
        if self.downsample is not None:
            yield from weights.conv(f"{prefix}.downsample.conv", f"{path}/Conv_proj", bias=False)
            yield from weights.batch_norm(f"{prefix}.downsample.bn", f"{path}/BatchNorm_proj")


class BottleneckResNetBlock(_Block):
    """1x1, 3x3 (strided) and 1x1 convolution with a shortcut; `features` * 4 channels come out."""

    expansion, kernels, strided = 4, (1, 3, 1), 1


class ResNetBlock(_Block):
    """3x3 (strided) and 3x3 convolution with a shortcut."""

    expansion, kernels, strided = 1, (3, 3), 0


class ResNet(nn.Module):
    """Stem, stages of blocks, global mean, linear head.

    Args:
      block: `BottleneckResNetBlock` or `ResNetBlock`.
      blocks: blocks per stage; every stage but the first halves height and width.
      width: features of the stem and of the first stage; doubles per stage.
      num_classes: logits.
      activation: key of `ACTIVATIONS`.
      last_scale: initial scale of the last batch norm of each block.
      large_stem: 7x7 convolution of stride 2 and 3x3 max-pooling of stride 2, instead of a 3x3 convolution.
    """

    def __init__(
        self,
        *,
        block: type[_Block],
        blocks: tuple[int, ...],
        width: int,
        num_classes: int,
        activation: str = "relu",
        last_scale: float = 0.0,
        large_stem: bool = True,
    ) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[activation]
        self._large_stem = large_stem
        self._num_stages = len(blocks)
        kernel, stride = (7, 2) if large_stem else (3, 1)
        self.conv1 = nn.Conv2d(3, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = BatchNorm(width)
        channels = width
        for stage, num_blocks in enumerate(blocks):
            layers = []
            for number in range(num_blocks):
                stride = 2 if stage and number == 0 else 1
                layers.append(block(channels, width * 2**stage, stride, self._activation, last_scale))
                channels = block.expansion * width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, num_classes)
        lecun_normal_modules_(self)
        with torch.no_grad():
            normal_(self.fc.weight, 0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [batch, num_classes] for `images` [batch, height, width, 3]."""
        x = self._activation(self.bn1(self.conv1(images.permute(0, 3, 1, 2))))
        if self._large_stem:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(self._num_stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits

    def weight_map(self) -> Iterator[Entry]:
        """Names and layouts of all tensors in terms of the Flax model."""
        yield from weights.conv("conv1", "Conv_init", bias=False)
        yield from weights.batch_norm("bn1", "BatchNorm_init")
        number = 0
        for stage in range(1, self._num_stages + 1):
            for index, block in enumerate(getattr(self, f"layer{stage}")):
                yield from block.weight_map(f"layer{stage}.{index}", f"{type(block).__name__}_{number}")
                number += 1
        yield from weights.linear("fc", "Dense_0")
