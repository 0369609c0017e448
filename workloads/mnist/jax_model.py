"""One hidden layer in JAX."""

import flax.linen as nn
import jax

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.image_classifier import ImageClassifier
from workloads.mnist.definition import MnistConfig


class Mlp(nn.Module):
    """Flatten, dense, sigmoid, dense: images [batch, height, width, 1] to logits [batch, classes]."""

    dimensions: MnistConfig

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        hidden = nn.Dense(self.dimensions.num_hidden)(images.reshape(len(images), -1))
        return nn.Dense(self.dimensions.num_classes)(nn.sigmoid(hidden))


def build(definition: WorkloadDefinition) -> ImageClassifier:
    return ImageClassifier(definition, Mlp(definition.model), output_layer="Dense_1", num_channels=1)
