"""Residual networks for images [batch, height, width, channels]."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, constant, normal, ones

from workloads.common.jax.batch_norm import BatchNorm

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": nn.relu, "silu": nn.silu, "gelu": nn.gelu}

# Pads so that the output has ceil(size / stride) positions, the odd pixel at the end: what "SAME" means here.
_conv = functools.partial(nn.Conv, use_bias=False, padding="SAME")


class BottleneckResNetBlock(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolution with a shortcut; `features` * 4 channels come out."""

    features: int
    stride: int
    activation: Callable[[jax.Array], jax.Array]
    last_scale: Initializer = ones

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        x = _conv(self.features, (1, 1), name="Conv_0")(inputs)
        x = self.activation(BatchNorm(name="BatchNorm_0")(x, train=train))
        x = _conv(self.features, (3, 3), (self.stride, self.stride), name="Conv_1")(x)
        x = self.activation(BatchNorm(name="BatchNorm_1")(x, train=train))
        x = _conv(4 * self.features, (1, 1), name="Conv_2")(x)
        x = BatchNorm(scale_init=self.last_scale, name="BatchNorm_2")(x, train=train)
        return self.activation(x + _shortcut(inputs, x.shape, self.stride, train))


class ResNetBlock(nn.Module):
    """3x3 (strided) and 3x3 convolution with a shortcut."""

    features: int
    stride: int
    activation: Callable[[jax.Array], jax.Array]
    last_scale: Initializer = ones

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        x = _conv(self.features, (3, 3), (self.stride, self.stride), name="Conv_0")(inputs)
        x = self.activation(BatchNorm(name="BatchNorm_0")(x, train=train))
        x = _conv(self.features, (3, 3), name="Conv_1")(x)
        x = BatchNorm(scale_init=self.last_scale, name="BatchNorm_1")(x, train=train)
        return self.activation(x + _shortcut(inputs, x.shape, self.stride, train))


def _shortcut(inputs: jax.Array, shape: tuple[int, ...], stride: int, train: bool) -> jax.Array:
    if inputs.shape == shape:
        return inputs
    x = _conv(shape[-1], (1, 1), (stride, stride), name="Conv_proj")(inputs)
    return BatchNorm(name="BatchNorm_proj")(x, train=train)


class ResNet(nn.Module):
    """Stem, stages of blocks, global mean, linear head.

    Attributes:
      block: `BottleneckResNetBlock` or `ResNetBlock`.
      blocks: blocks per stage; every stage but the first halves height and width.
      width: features of the stem and of the first stage; doubles per stage.
      num_classes: logits.
      activation: key of `ACTIVATIONS`.
      last_scale: initial scale of the last batch norm of each block.
      large_stem: 7x7 convolution of stride 2 and 3x3 max-pooling of stride 2, instead of a 3x3 convolution.
    """

    block: type[nn.Module]
    blocks: tuple[int, ...]
    width: int
    num_classes: int
    activation: str = "relu"
    last_scale: float = 0.0
    large_stem: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [batch, num_classes] for `images` [batch, height, width, 3]."""
        activation = ACTIVATIONS[self.activation]
        kernel, stride = (7, 2) if self.large_stem else (3, 1)
        x = nn.Conv(
            self.width,
            (kernel, kernel),
            (stride, stride),
            padding=[(kernel // 2, kernel // 2)] * 2,
            use_bias=False,
            name="Conv_init",
        )(images)
        x = activation(BatchNorm(name="BatchNorm_init")(x, train=train))
        if self.large_stem:
            x = nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])
        for stage, num_blocks in enumerate(self.blocks):
            for number in range(num_blocks):
                x = self.block(
                    features=self.width * 2**stage,
                    stride=2 if stage and number == 0 else 1,
                    activation=activation,
                    last_scale=constant(self.last_scale),
                )(x, train=train)
        return nn.Dense(self.num_classes, kernel_init=normal(0.01))(jnp.mean(x, axis=(1, 2)))
