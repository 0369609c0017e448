"""A long short-term memory layer (Hochreiter and Schmidhuber 1997). Shapes: B rows, T steps, D inputs, H cells."""

import jax
import jax.numpy as jnp


def lstm(inputs: jax.Array, input_kernel: jax.Array, recurrent_kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns the outputs [B, T, H] of all steps, from a state of zeros.

    The inputs' part of all gates is one product; a step of the loop has one more. Left to JAX's own differentiation, so
    that forward mode works too; a hand-written backward pass was no faster on a CPU.

    Args:
      inputs: [B, T, D].
      input_kernel: [D, 4 H]; columns are the gates input, forget, candidate, output.
      recurrent_kernel: [H, 4 H].
      bias: [4 H].
    """
    projected = jnp.swapaxes(inputs @ input_kernel + bias, 0, 1)

    def step(
        state: tuple[jax.Array, jax.Array], from_input: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        cell, hidden = state
        i, f, g, o = jnp.split(from_input + hidden @ recurrent_kernel, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (cell, hidden), hidden

    zeros = jnp.zeros_like(projected[0, :, : recurrent_kernel.shape[0]])
    _, outputs = jax.lax.scan(step, (zeros, zeros), projected)
    return jnp.swapaxes(outputs, 0, 1)
