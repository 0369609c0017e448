"""Weighted losses. Each returns `summed` and `n_valid_examples` (scalars) and `per_example` (times the weights).

`weights` is None (all ones) or has the shape of the losses or of their leading axes, for example [batch] for
losses [batch, length]; a weight then counts once for each loss it covers. Where a weight is 0, whatever the loss
is there (NaN included) does not matter. Nothing is reduced over processes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from algoperf.definition import LossType

Losses = dict[str, Tensor]


def weighted(per_example: Tensor, weights: Tensor | None) -> Losses:
    """Applies `weights` to unweighted losses `per_example` [batch, ...] and sums."""
    if weights is None:
        count = torch.full((), per_example.numel(), dtype=per_example.dtype, device=per_example.device)
    else:
        weights = _aligned(weights.to(per_example.dtype), per_example.shape)
        count = weights.sum()
        per_example = torch.where(weights == 0, 0, per_example * weights)
    return {"summed": per_example.sum(), "n_valid_examples": count, "per_example": per_example}


def softmax_cross_entropy(
    labels: Tensor, logits: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Losses:
    """Cross-entropy of `logits` [..., classes] with integer `labels` [...] or probabilities [..., classes].

    Smoothed targets are (1 - label_smoothing) * target + label_smoothing / classes. Losses have the shape [...].
    """
    num_classes = logits.shape[-1]
    if labels.shape == logits.shape:
        flat_labels = labels.reshape(-1, num_classes).to(logits.dtype)
    elif labels.shape == logits.shape[:-1]:
        flat_labels = labels.reshape(-1).long()
    else:
        raise ValueError(
            f"labels must have shape {tuple(logits.shape[:-1])} (classes) or {tuple(logits.shape)} (probabilities), "
            f"got {tuple(labels.shape)}"
        )
    losses = F.cross_entropy(
        logits.reshape(-1, num_classes), flat_labels, reduction="none", label_smoothing=label_smoothing
    )
    return weighted(losses.reshape(logits.shape[:-1]), weights)


def correct(labels: Tensor, logits: Tensor) -> Tensor:
    """1 where the largest of `logits` [..., classes] is the label [...], else 0; NaN where a logit is NaN."""
    hits = (logits.argmax(-1) == labels).float()
    return hits.masked_fill(logits.isnan().any(-1), float("nan"))


def sigmoid_cross_entropy(
    labels: Tensor, logits: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Losses:
    """Binary cross-entropy of `logits` [batch, ...] with `labels` of the same shape; one loss for each logit.

    Smoothed targets are (1 - label_smoothing) * target + label_smoothing / (size of the last axis).
    """
    labels = labels.to(logits.dtype)
    _check_same_shape(labels, logits)
    if weights is not None:
        labels = torch.where(_aligned(weights, logits.shape) == 0, 0, labels)
    if label_smoothing != 0:
        labels = (1 - label_smoothing) * labels + label_smoothing / logits.shape[-1]
    return weighted(F.binary_cross_entropy_with_logits(logits, labels, reduction="none"), weights)


def mean_absolute_error(labels: Tensor, outputs: Tensor, weights: Tensor | None = None) -> Losses:
    """Mean over everything but the batch axis of |outputs - labels|; losses have the shape [batch]."""
    _check_same_shape(labels, outputs)
    return weighted((outputs - labels.to(outputs.dtype)).abs().reshape(len(outputs), -1).mean(1), weights)


def mean_squared_error(labels: Tensor, outputs: Tensor, weights: Tensor | None = None) -> Losses:
    """Mean over everything but the batch axis of (outputs - labels)²; losses have the shape [batch]."""
    _check_same_shape(labels, outputs)
    errors = outputs - labels.to(outputs.dtype)
    return weighted(errors.square().reshape(len(outputs), -1).mean(1), weights)


def of_type(
    loss_type: LossType, labels: Tensor, outputs: Tensor, weights: Tensor | None, label_smoothing: float
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


def _aligned(weights: Tensor, shape: torch.Size) -> Tensor:
    """Broadcasts weights of shape `shape[:k]` to `shape`."""
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(
            f"weights must have shape {tuple(shape)} or that of its leading axes, got {tuple(weights.shape)}"
        )
    return weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)).expand(shape)


def _check_same_shape(labels: Tensor, outputs: Tensor) -> None:
    if labels.shape != outputs.shape:
        raise ValueError(
            f"labels must have the shape of the outputs, {tuple(outputs.shape)}, got {tuple(labels.shape)}"
        )
