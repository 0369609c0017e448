"""Beam search on the device, with caches that are never reordered (JAX).

Each position of each beam writes its keys and values into a slot of its own, and a hypothesis finds its past through
a table of ancestors: which beam held its prefix at each earlier position. Where hypotheses change beams, rows of that
small table move, and not the caches.

Shapes: B sentences, K beams, L positions (max_length), V vocabulary; slot number = position * K + beam.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from workloads.wmt.definition import TransformerConfig
from workloads.wmt.vocabulary import END, START

NEVER = -1e7  # a log-probability that no hypothesis reaches

# (tokens [B, K], position, caches, visible [B, 1, K, L * K]) -> (logits [B, K, V], caches)
Step = Callable[[jax.Array, jax.Array, list["SlotCache"], jax.Array], tuple[jax.Array, list["SlotCache"]]]


class SlotCache(NamedTuple):
    """Keys [B, heads, depth, L * K] and values [B, heads, L * K, depth] of one layer; `next_slot` is the first free."""

    keys: jax.Array
    values: jax.Array
    next_slot: Any

    def write(self, keys: jax.Array, values: jax.Array) -> "SlotCache":
        """Stores keys [B, heads, depth, K] and values [B, heads, K, depth] of one position."""
        return self._replace(
            keys=jax.lax.dynamic_update_slice_in_dim(self.keys, keys, self.next_slot, axis=3),
            values=jax.lax.dynamic_update_slice_in_dim(self.values, values, self.next_slot, axis=2),
        )


class _State(NamedTuple):
    """Hypotheses by falling score; sequences [B, K, L] hold the start token at position 0.

    `live` log-probabilities and `finished` scores are [B, K]; a `finished` score of NEVER marks an empty place.
    """

    position: jax.Array
    live: jax.Array
    live_sequences: jax.Array
    finished: jax.Array
    finished_sequences: jax.Array
    ancestors: jax.Array
    keys: list[jax.Array]
    values: list[jax.Array]


def length_penalty(config: TransformerConfig, length: Any) -> Any:
    """((5 + length) / 6) ** length_penalty, `length` counting generated tokens (Wu et al. 2016, equation 14)."""
    return ((5.0 + length) / 6.0) ** config.length_penalty


def beam_search(step: Step, config: TransformerConfig, beam_size: int, *, needed: jax.Array, dtype: Any) -> jax.Array:
    """Returns the best hypothesis of each sentence without its start token, int32 [B, L - 1], zeros after its end.

    A sentence that ends no hypothesis within L - 1 tokens gives its best unfinished one.

    Args:
      step: the decoder.
      needed: bool [B]; the search does not wait for other sentences, whose results mean nothing.
      dtype: of the caches.
    """
    heads, slots, depth = config.num_heads, config.max_length * beam_size, config.width // config.num_heads
    sequences = jnp.full((len(needed), beam_size, config.max_length), 0, jnp.int32).at[..., 0].set(START)
    never = jnp.full((len(needed), beam_size), NEVER, jnp.float32)
    state = _State(
        position=jnp.zeros((), jnp.int32),
        live=never.at[:, 0].set(0),
        live_sequences=sequences,
        finished=never,
        finished_sequences=jnp.zeros_like(sequences),
        ancestors=jnp.zeros_like(sequences),
        keys=[jnp.zeros((len(needed), heads, depth, slots), dtype)] * config.num_layers,
        values=[jnp.zeros((len(needed), heads, slots, depth), dtype)] * config.num_layers,
    )
    longest = length_penalty(config, config.max_length)

    def unfinished(state: _State) -> jax.Array:
        settled = state.finished[:, -1] > state.live[:, 0] / longest
        return (state.position < config.max_length - 1) & jnp.any(~settled & needed)

    state = jax.lax.while_loop(unfinished, lambda state: _extend(step, config, beam_size, state), state)
    has_finished = state.finished[:, 0] > NEVER
    best = jnp.where(has_finished[:, None], state.finished_sequences[:, 0], state.live_sequences[:, 0])
    return best[:, 1:]


def _extend(step: Step, config: TransformerConfig, beam_size: int, state: _State) -> _State:
    """Adds one token to every live hypothesis and sorts the results into live and finished ones."""
    position = state.position
    ancestors = state.ancestors.at[:, :, position].set(jnp.arange(beam_size))
    slots = jnp.arange(config.max_length * beam_size)
    visible = jnp.repeat(ancestors, beam_size, axis=-1) == slots % beam_size
    visible = (visible & (slots // beam_size <= position))[:, None]
    tokens = jax.lax.dynamic_index_in_dim(state.live_sequences, position, axis=2, keepdims=False)
    caches = [SlotCache(k, v, position * beam_size) for k, v in zip(state.keys, state.values, strict=True)]
    logits, caches = step(tokens, position, caches, visible)

    parents, tokens, log_probs = _candidates(state.live, logits, 2 * beam_size)
    sequences = _take(state.live_sequences, parents).at[:, :, position + 1].set(tokens)
    ended = tokens == END

    live, chosen = jax.lax.top_k(jnp.where(ended, NEVER, log_probs), beam_size)
    scores = jnp.where(ended, log_probs / length_penalty(config, position + 1), NEVER)
    pool = jnp.concatenate([state.finished, scores], axis=1)
    finished, retained = jax.lax.top_k(pool, beam_size)
    return _State(
        position=position + 1,
        live=live,
        live_sequences=_take(sequences, chosen),
        finished=finished,
        finished_sequences=_take(jnp.concatenate([state.finished_sequences, sequences], axis=1), retained),
        ancestors=_take(ancestors, jnp.take_along_axis(parents, chosen, axis=1)),
        keys=[cache.keys for cache in caches],
        values=[cache.values for cache in caches],
    )


def _candidates(live: jax.Array, logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The `count` best extensions of `live` [B, K] by `logits` [B, K, V]: parents, tokens, scores, each [B, count].

    The best of all are among the best of each beam, which are far fewer to normalise and to sort.
    """
    per_beam = min(count, logits.shape[-1])
    values, tokens = jax.lax.top_k(logits, per_beam)
    offsets = live - jax.scipy.special.logsumexp(logits, axis=-1)
    scores, chosen = jax.lax.top_k((values + offsets[..., None]).reshape(len(live), -1), count)
    return chosen // per_beam, jnp.take_along_axis(tokens.reshape(len(live), -1), chosen, axis=1), scores


def _take(sequences: jax.Array, rows: jax.Array) -> jax.Array:
    """`sequences` [B, K, L] at `rows` [B, n] -> [B, n, L]."""
    return jnp.take_along_axis(sequences, rows[..., None], axis=1)
