"""A long short-term memory layer (Hochreiter and Schmidhuber 1997). Shapes: B rows, T steps, D inputs, H cells."""

import jax
import jax.numpy as jnp


def lstm(inputs: jax.Array, input_kernel: jax.Array, recurrent_kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Returns the outputs [B, T, H] of all steps, from a state of zeros.

    Args:
      inputs: [B, T, D].
      input_kernel: [D, 4 H]; columns are the gates input, forget, candidate, output.
      recurrent_kernel: [H, 4 H].
      bias: [4 H].
    """
    projected = jnp.swapaxes(inputs @ input_kernel + bias, 0, 1)
    return jnp.swapaxes(_recurrence(projected, recurrent_kernel), 0, 1)


@jax.custom_vjp
def _recurrence(projected: jax.Array, kernel: jax.Array) -> jax.Array:
    """Outputs [T, B, H] for the inputs' part of the gates [T, B, 4 H]."""
    return _forward(projected, kernel)[0]


def _forward(projected: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    def step(state: tuple[jax.Array, jax.Array], from_input: jax.Array) -> tuple[tuple, tuple]:
        cell, hidden = state
        gates = _activated(from_input + hidden @ kernel)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        cell = f * cell + i * g
        hidden = o * jnp.tanh(cell)
        return (cell, hidden), (hidden, cell, gates)

    zeros = jnp.zeros_like(projected[0, :, : kernel.shape[0]])
    _, (hidden, cells, gates) = jax.lax.scan(step, (zeros, zeros), projected)
    return hidden, (hidden, cells, gates, kernel)


def _activated(gates: jax.Array) -> jax.Array:
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return jnp.concatenate([jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)], axis=-1)


def _backward(saved: tuple[jax.Array, ...], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Back through time; the kernel's gradient is one product over all steps, not a sum that the loop carries."""
    hidden, cells, gates, kernel = saved
    before = jnp.concatenate([jnp.zeros_like(cells[:1]), cells[:-1]])

    def step(state: tuple[jax.Array, jax.Array], now: tuple[jax.Array, ...]) -> tuple[tuple, jax.Array]:
        cell_gradient, hidden_gradient = state
        from_output, cell, cell_before, activated = now
        i, f, g, o = jnp.split(activated, 4, axis=-1)
        hidden_gradient = hidden_gradient + from_output
        squashed = jnp.tanh(cell)
        cell_gradient = cell_gradient + hidden_gradient * o * (1 - squashed**2)
        gate_gradients = jnp.concatenate(
            [
                cell_gradient * g * i * (1 - i),
                cell_gradient * cell_before * f * (1 - f),
                cell_gradient * i * (1 - g**2),
                hidden_gradient * squashed * o * (1 - o),
            ],
            axis=-1,
        )
        return (cell_gradient * f, gate_gradients @ kernel.T), gate_gradients

    zeros = jnp.zeros_like(gradient[0])
    _, projected_gradient = jax.lax.scan(step, (zeros, zeros), (gradient, cells, before, gates), reverse=True)
    kernel_gradient = jnp.einsum("tbh,tbg->hg", hidden[:-1], projected_gradient[1:])
    return projected_gradient, kernel_gradient


_recurrence.defvjp(_forward, _backward)
