"""Weighted losses. Each returns `summed` and `n_valid_examples` (scalars) and `per_example` (times the weights).

`weights` is None (all ones) or has the shape of the losses or of their leading axes, for example [batch] for
losses [batch, length]; a weight then counts once for each loss it covers. Where a weight is 0, whatever the loss
is there (NaN included) does not matter.
"""

from typing import Any

import jax
import jax.numpy as jnp

from algoperf.definition import LossType

Losses = dict[str, jax.Array]


def weighted(per_example: jax.Array, weights: Any | None) -> Losses:
    """Applies `weights` to unweighted losses `per_example` [batch, ...] and sums."""
    if weights is None:
        count = jnp.asarray(per_example.size, per_example.dtype)
    else:
        weights = _aligned(jnp.asarray(weights, per_example.dtype), per_example.shape)
        count = weights.sum()
        per_example = jnp.where(weights == 0, 0, per_example * weights)
    return {"summed": per_example.sum(), "n_valid_examples": count, "per_example": per_example}


def softmax_cross_entropy(
    labels: Any, logits: jax.Array, weights: Any | None = None, label_smoothing: float | jax.Array = 0.0
) -> Losses:
    """Cross-entropy of `logits` [..., classes] with integer `labels` [...] or probabilities [..., classes].

    Smoothed targets are (1 - label_smoothing) * target + label_smoothing / classes. Losses have the shape [...].
    A class that does not exist has the loss NaN, since compiled code cannot raise (PyTorch's loss does).
    """
    labels = jnp.asarray(labels)
    log_probs = jax.nn.log_softmax(logits)
    if labels.shape == logits.shape:
        losses = -(labels * log_probs).sum(-1)
    elif labels.shape == logits.shape[:-1]:
        chosen = labels.astype(jnp.int32)
        chosen = jnp.where(chosen < 0, logits.shape[-1], chosen)  # a negative index would count from the end
        losses = -jnp.take_along_axis(log_probs, chosen[..., None], axis=-1, mode="fill", fill_value=jnp.nan)[..., 0]
    else:
        raise ValueError(
            f"labels must have shape {logits.shape[:-1]} (classes) or {logits.shape} (probabilities), "
            f"got {labels.shape}"
        )
    if not _is_zero(label_smoothing):
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probs.mean(-1)
    return weighted(losses, weights)


def correct(labels: Any, logits: jax.Array) -> jax.Array:
    """1 where the largest of `logits` [..., classes] is the label [...], else 0; NaN where a logit is NaN."""
    hits = (logits.argmax(-1) == labels).astype(jnp.float32)
    return jnp.where(jnp.isnan(logits).any(-1), jnp.nan, hits)


def sigmoid_cross_entropy(
    labels: Any, logits: jax.Array, weights: Any | None = None, label_smoothing: float | jax.Array = 0.0
) -> Losses:
    """Binary cross-entropy of `logits` [batch, ...] with `labels` of the same shape; one loss for each logit.

    Smoothed targets are (1 - label_smoothing) * target + label_smoothing / (size of the last axis).
    """
    labels = jnp.asarray(labels, logits.dtype)
    _check_same_shape(labels.shape, logits.shape)
    if weights is not None:
        labels = jnp.where(_aligned(jnp.asarray(weights), logits.shape) == 0, 0, labels)
    if not _is_zero(label_smoothing):
        labels = (1 - label_smoothing) * labels + label_smoothing / logits.shape[-1]
    losses = jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return weighted(losses, weights)


def mean_absolute_error(labels: Any, outputs: jax.Array, weights: Any | None = None) -> Losses:
    """Mean over everything but the batch axis of |outputs - labels|; losses have the shape [batch]."""
    labels = jnp.asarray(labels, outputs.dtype)
    _check_same_shape(labels.shape, outputs.shape)
    return weighted(jnp.abs(outputs - labels).reshape(len(outputs), -1).mean(-1), weights)


def mean_squared_error(labels: Any, outputs: jax.Array, weights: Any | None = None) -> Losses:
    """Mean over everything but the batch axis of (outputs - labels)²; losses have the shape [batch]."""
    labels = jnp.asarray(labels, outputs.dtype)
    _check_same_shape(labels.shape, outputs.shape)
    return weighted(jnp.square(outputs - labels).reshape(len(outputs), -1).mean(-1), weights)


def of_type(
    loss_type: LossType, labels: Any, outputs: jax.Array, weights: Any | None, label_smoothing: float | jax.Array
) -> Losses:
    """The loss called `loss_type`; regression has no label to smooth.

    Raises:
      ValueError: the loss needs more than labels and outputs (CTC); the model computes it itself.
    """
    if loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy(labels, outputs, weights, label_smoothing)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return sigmoid_cross_entropy(labels, outputs, weights, label_smoothing)
    if loss_type is LossType.MEAN_ABSOLUTE_ERROR:
        return mean_absolute_error(labels, outputs, weights)
    if loss_type is LossType.MEAN_SQUARED_ERROR:
        return mean_squared_error(labels, outputs, weights)
    raise ValueError(f"{loss_type.name} has no general form; override the model's `loss`")


def _aligned(weights: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Broadcasts weights of shape `shape[:k]` to `shape`."""
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(f"weights must have shape {shape} or that of its leading axes, got {weights.shape}")
    return jnp.broadcast_to(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


def _check_same_shape(labels: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    if labels != outputs:
        raise ValueError(f"labels must have the shape of the outputs, {outputs}, got {labels}")


def _is_zero(value: float | jax.Array) -> bool:
    return isinstance(value, (int, float)) and value == 0
