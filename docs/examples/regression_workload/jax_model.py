"""The model in JAX."""

import flax.linen as nn
import jax
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.model import FlaxModel


class Network(nn.Module):
    num_hidden: int

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """Maps [batch, features] to [batch]."""
        hidden = nn.tanh(nn.Dense(self.num_hidden)(inputs))
        return nn.Dense(1)(hidden)[:, 0]


def build(definition: WorkloadDefinition) -> FlaxModel:
    example = np.zeros((1, definition.model.num_features), np.float32)
    return FlaxModel(definition, Network(definition.model.num_hidden), example=(example,), output_layer="Dense_1")
