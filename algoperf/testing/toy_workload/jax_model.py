"""The model in JAX."""

import flax.linen as nn
import jax
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.model import FlaxModel


class LinearRegression(nn.Module):
    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """Maps [batch, features] to [batch]."""
        return nn.Dense(1)(inputs)[:, 0]


def build(definition: WorkloadDefinition) -> FlaxModel:
    inputs = np.zeros((1, definition.model.num_features), np.float32)
    return FlaxModel(definition, LinearRegression(), example=(inputs,), output_layer="Dense_0")
