"""Long short-term memory layers (Hochreiter and Schmidhuber 1997). Shapes: B rows, T steps, D inputs, H cells."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Weights(NamedTuple):
    """Of one layer; columns are the gates input, forget, candidate, output.

    Attributes:
      input_kernel: [D, 4 H].
      recurrent_kernel: [H, 4 H].
      bias: [4 H].
    """

    input_kernel: jax.Array
    recurrent_kernel: jax.Array
    bias: jax.Array


def lstm(inputs: Sequence[jax.Array], weights: Sequence[Weights]) -> list[jax.Array]:
    """Returns the outputs [B, T, H] of all steps of independent layers of one size, each from a state of zeros.

    The inputs' part of all gates is one product; a step of the loop has one more, over all layers at once: on a GPU the
    number of steps in a row decides. Left to JAX's own differentiation, so that forward mode works too; a hand-written
    backward pass was no faster on a CPU.

    Args:
      inputs: [B, T, D] for each layer.
      weights: of each layer.
    """
    projected = jnp.stack(
        [jnp.swapaxes(x @ w.input_kernel + w.bias, 0, 1) for x, w in zip(inputs, weights, strict=True)], axis=1
    )
    recurrent_kernels = jnp.stack([w.recurrent_kernel for w in weights])

    def step(
        state: tuple[jax.Array, jax.Array], from_input: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        cell, hidden = state
        recurrent = jnp.einsum("lbh,lhg->lbg", hidden, recurrent_kernels)
        i, f, g, o = jnp.split(from_input + recurrent, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (cell, hidden), hidden

    zeros = jnp.zeros_like(projected[0, ..., : recurrent_kernels.shape[1]])
    _, outputs = jax.lax.scan(step, (zeros, zeros), projected)
    return [jnp.swapaxes(outputs[:, layer], 0, 1) for layer in range(len(weights))]
