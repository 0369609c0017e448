"""Microbatches in JAX: a model that computes its batch in parts and keeps the activations of one part at a time."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from algoperf import jax_sharding_utils
from algoperf.backends.base import Model
from algoperf.backends.microbatches import num_microbatches


class MicrobatchedModel:
    """`model` on at most `max_rows` rows of each device at a time.

    The backward pass computes each part's forward pass again. Logits, losses and gradients are those of the whole
    batch; dropout draws other masks. For models without batch statistics.
    """

    def __init__(self, model: Model, max_rows: int) -> None:
        self.whole = model
        self.max_rows = max_rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def forward(
        self, params: Any, batch: Mapping[str, Any], model_state: Any, *, rng: Any, **mode: Any
    ) -> tuple[Any, Any]:
        count = self._num_parts(batch)
        if count == 1:
            return self.whole.forward(params, batch, model_state, rng=rng, **mode)

        @jax.checkpoint
        def logits_of(part: Mapping[str, Any], number: jax.Array) -> Any:
            key = None if rng is None else jax.random.fold_in(rng, number)
            return self.whole.forward(params, part, model_state, rng=key, **mode)[0]

        parts = (_split(batch, count), jnp.arange(count))
        return _merged(jax.lax.map(lambda part: logits_of(*part), parts)), model_state

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        count = self._num_parts(batch)
        if count == 1:
            return self.whole.evaluate(params, batch, model_state)
        parts = jax.lax.map(lambda part: self.whole.evaluate(params, part, model_state), _split(batch, count))
        outputs: dict[str, Any] = _merged(parts)
        return outputs

    def _num_parts(self, batch: Mapping[str, Any]) -> int:
        rows = len(jax.tree.leaves(batch)[0])
        return num_microbatches(rows // jax.device_count(), self.max_rows)


def _split(batch: Any, count: int) -> Any:
    """[rows, ...] to [count, rows / count, ...], in which each device holds the rows that it held before."""

    def split(array: jax.Array) -> jax.Array:
        by_device = array.reshape(jax.device_count(), count, -1, *array.shape[1:])
        return _placed(by_device.swapaxes(0, 1).reshape(count, -1, *array.shape[1:]))

    return jax.tree.map(split, batch)


def _merged(parts: Any) -> Any:
    """Inverse of `_split`."""

    def merge(array: jax.Array) -> jax.Array:
        count, rows = array.shape[:2]
        by_part = _placed(array).reshape(count, jax.device_count(), -1, *array.shape[2:])
        return by_part.swapaxes(0, 1).reshape(count * rows, *array.shape[2:])

    return jax.tree.map(merge, parts)


def _placed(parts: jax.Array) -> jax.Array:
    """Rows of axis 1 split over the devices."""
    batch = jax_sharding_utils.get_batch_dim_sharding()
    spec = jax.sharding.PartitionSpec(None, *batch.spec)
    placed: jax.Array = jax.lax.with_sharding_constraint(parts, jax.sharding.NamedSharding(batch.mesh, spec))
    return placed
