"""Connectionist temporal classification (Graves et al. 2006): loss and greedy decoding. The blank is 0.

Shapes: B utterances, T steps, N labels, V outputs. Paddings are 1 where there is nothing; padding comes last.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from workloads.common.jax.losses import Losses

# Loss of an utterance for each step that it lacks: what a forbidden transition costs in Optax.
MISSING_STEP_LOSS = 1e5


def ctc_losses(labels: tuple[Any, Any], logits: tuple[jax.Array, jax.Array], weights: Any | None = None) -> Losses:
    """Negative log-likelihood of each utterance's labels, in nats.

    Where the steps are too few for the labels (each label needs one, and one more between equal neighbours), the
    likelihood is 0; the loss is then `MISSING_STEP_LOSS` for each missing step and has no gradient.

    Args:
      labels: (integers [B, N], paddings [B, N]).
      logits: (logits [B, T, V], paddings [B, T]).
      weights: [B] or [B, N]; an utterance counts by its largest weight, a label by its own. None means ones.

    Returns:
      `per_example` [B] and their sum `summed`, in nats; `n_valid_examples`, the number of labels, at least 1.
    """
    tokens, token_paddings = (jnp.asarray(array) for array in labels)
    tokens = tokens.astype(jnp.int32)
    losses = optax.ctc_loss(*logits, tokens, token_paddings)
    missing = _missing_steps(tokens, token_paddings, logits[1])
    losses = jnp.where(missing > 0, MISSING_STEP_LOSS * missing, losses)
    counts = 1 - token_paddings
    if weights is not None:
        weights = jnp.asarray(weights, losses.dtype)
        counts = counts * weights.reshape(len(weights), -1)
        weights = weights.reshape(len(weights), -1).max(1)
        losses = jnp.where(weights == 0, 0, losses * weights)
    return {"summed": losses.sum(), "n_valid_examples": jnp.maximum(counts.sum(), 1), "per_example": losses}


def _missing_steps(tokens: jax.Array, token_paddings: jax.Array, logit_paddings: jax.Array) -> jax.Array:
    real = 1 - token_paddings
    repeats = ((tokens[:, 1:] == tokens[:, :-1]) * real[:, 1:]).sum(1)
    return jnp.maximum(real.sum(1) + repeats - (1 - logit_paddings).sum(1), 0)


def greedy_decode(logits: jax.Array, paddings: jax.Array) -> jax.Array:
    """Returns the labels of the likeliest path, int32 [B, T]: repeats and blanks removed, filled up with blanks."""
    path = jnp.where(paddings > 0, 0, logits.argmax(-1)).astype(jnp.int32)
    previous = jnp.pad(path[:, :-1], ((0, 0), (1, 0)))
    retained = (path != 0) & (path != previous)
    order = jnp.argsort(~retained, axis=1, stable=True)
    return jnp.take_along_axis(jnp.where(retained, path, 0), order, axis=1)
