"""U-Net and structural similarity in JAX."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.dropout import Dropout
from workloads.common.jax.model import FlaxModel
from workloads.fastmri.definition import UNetConfig
from workloads.fastmri.ssim import COVARIANCE_FACTOR, K1, K2, WINDOW

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}


def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Normalises each channel of each image over height and width; biased variance, no parameters."""
    centred = x - x.mean((1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean((1, 2), keepdims=True) + epsilon)


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution, norm, activation, dropout of whole channels."""

    features: int
    model: UNetConfig

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        for _ in range(2):
            x = nn.Conv(self.features, (3, 3), padding=[(1, 1), (1, 1)], use_bias=False)(x)
            if self.model.norm == "layer":
                x = nn.LayerNorm(epsilon=1e-6, reduction_axes=(1, 2, 3), feature_axes=-1)(x)
            else:
                x = instance_norm(x)
            x = ACTIVATIONS[self.model.activation](x)
            x = Dropout(broadcast_dims=(1, 2))(x, rate=dropout_rate, train=train)
        return x


class TransposeConvBlock(nn.Module):
    """2x2 transposed convolution of stride 2, instance norm, activation."""

    features: int
    model: UNetConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.ConvTranspose(self.features, (2, 2), (2, 2), use_bias=False)(x)
        return ACTIVATIONS[self.model.activation](instance_norm(x))


class UNet(nn.Module):
    model: UNetConfig

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool, dropout_rate: Any = 0.0) -> jax.Array:
        """Returns reconstructions [batch, height, width] of `images` [batch, height, width]."""
        options = {"train": train, "dropout_rate": dropout_rate}
        features = self.model.channels
        x = images[..., None]
        skips = []
        for _ in range(self.model.pool_layers):
            x = ConvBlock(features, self.model)(x, **options)
            skips.append(x)
            x = nn.avg_pool(x, (2, 2), (2, 2))
            features *= 2
        x = ConvBlock(features, self.model)(x, **options)
        for skip in reversed(skips):
            features //= 2
            x = TransposeConvBlock(features, self.model)(x)
            missing = [(0, skip.shape[axis] - x.shape[axis]) for axis in (1, 2)]
            x = jnp.pad(x, [(0, 0), *missing, (0, 0)], mode="reflect")
            x = ConvBlock(features, self.model)(jnp.concatenate([x, skip], -1), **options)
        return nn.Conv(1, (1, 1))(x)[..., 0]


def structural_similarity(x: jax.Array, y: jax.Array, data_range: jax.Array) -> jax.Array:
    """Mean structural similarity [batch] of x and y [batch, height, width], intensities up to data_range [batch].

    As `skimage.metrics.structural_similarity(win_size=7, data_range=...)`. Source: Wang et al., Image Quality
    Assessment, 2004, equation 13, with a uniform window and sample covariances.
    """

    def window_mean(image: jax.Array) -> jax.Array:
        sums: jax.Array = jax.lax.reduce_window(image, 0.0, jax.lax.add, (1, WINDOW, WINDOW), (1, 1, 1), "VALID")
        return sums / WINDOW**2

    # Variances do not change under a shift, and are more exact in float32 near zero.
    shift = y.mean((1, 2), keepdims=True)
    x, y = x - shift, y - shift
    mean_x, mean_y = window_mean(x), window_mean(y)
    var_x = COVARIANCE_FACTOR * (window_mean(x * x) - mean_x**2)
    var_y = COVARIANCE_FACTOR * (window_mean(y * y) - mean_y**2)
    cov = COVARIANCE_FACTOR * (window_mean(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + shift, mean_y + shift
    c1, c2 = jnp.square(K1 * data_range)[:, None, None], jnp.square(K2 * data_range)[:, None, None]
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return jnp.clip((luminance * structure).mean((1, 2)), -1, 1)


class FastMRIModel(FlaxModel):
    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `loss` (of normalised intensities) and `ssim` (of measured ones), each [batch]."""
        targets = batch["targets"]
        mean, std = batch["mean"][:, None, None], batch["std"][:, None, None]
        data_range = jnp.where(batch["volume_max"] == 0, 1, batch["volume_max"])
        similarity = structural_similarity(logits * std + mean, targets * std + mean, data_range)
        return {**super().outputs(logits, batch), "ssim": similarity}


def build(definition: WorkloadDefinition) -> FastMRIModel:
    size = definition.data.image_size
    images = np.zeros((1, size, size), np.float32)
    return FastMRIModel(definition, UNet(definition.model), example=(images,), output_layer="Conv_0")
