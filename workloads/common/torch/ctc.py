"""Connectionist temporal classification (Graves et al. 2006): loss and greedy decoding. The blank is 0.

Shapes: B utterances, T steps, N labels, V outputs. Paddings are 1 where there is nothing; padding comes last.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.common.torch.losses import Losses

# Loss of an utterance for each step that it lacks; the JAX models have the same number.
MISSING_STEP_LOSS = 1e5


def ctc_losses(labels: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor], weights: Tensor | None = None) -> Losses:
    """Negative log-likelihood of each utterance's labels, in nats.

    Where the steps are too few for the labels (each label needs one, and one more between equal neighbours), the
    likelihood is 0; the loss is then `MISSING_STEP_LOSS` for each missing step and has no gradient.

    Args:
      labels: (integers [B, N], paddings [B, N]).
      logits: (logits [B, T, V], paddings [B, T]).
      weights: [B] or [B, N]; an utterance counts by its largest weight, a label by its own. None means ones.

    Returns:
      `per_example` [B] and their sum `summed`, in nats; `n_valid_examples`, the number of labels, at least 1. Nothing
      is reduced over processes.
    """
    outputs, paddings = logits
    tokens, token_paddings = (tensor.to(outputs.device) for tensor in labels)
    tokens, counts = tokens.long(), 1 - token_paddings
    num_tokens, num_steps = counts.sum(1).long(), (1 - paddings).sum(1).long()
    log_probs = outputs.log_softmax(-1).transpose(0, 1)
    losses = F.ctc_loss(log_probs, tokens, num_steps.clamp(min=1), num_tokens, reduction="none", zero_infinity=True)
    losses = torch.where(num_steps > 0, losses, 0)
    missing = _missing_steps(tokens, counts, num_tokens, num_steps)
    losses = torch.where(missing > 0, MISSING_STEP_LOSS * missing, losses)
    if weights is not None:
        weights = weights.to(losses).reshape(len(weights), -1)
        counts = counts * weights
        weights = weights.amax(1)
        losses = torch.where(weights == 0, 0, losses * weights)
    return {"summed": losses.sum(), "n_valid_examples": counts.sum().clamp(min=1), "per_example": losses}


def _missing_steps(tokens: Tensor, real: Tensor, num_tokens: Tensor, num_steps: Tensor) -> Tensor:
    repeats = ((tokens[:, 1:] == tokens[:, :-1]) * real[:, 1:]).sum(1).long()
    return (num_tokens + repeats - num_steps).clamp(min=0)


def greedy_decode(logits: Tensor, paddings: Tensor) -> Tensor:
    """Returns the labels of the likeliest path, int32 [B, T]: repeats and blanks removed, filled up with blanks."""
    path = logits.argmax(-1).masked_fill(paddings > 0, 0)
    previous = F.pad(path[:, :-1], (1, 0))
    retained = (path != 0) & (path != previous)
    order = (~retained).to(torch.uint8).argsort(dim=1, stable=True)
    return path.masked_fill(~retained, 0).gather(1, order).int()
