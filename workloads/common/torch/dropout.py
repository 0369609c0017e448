"""Dropout whose rate comes with the call; draws from PyTorch's global generator."""

import torch.nn.functional as F
from torch import Tensor, nn


def dropout(inputs: Tensor, rate: float, train: bool) -> Tensor:
    """Zeroes elements with probability `rate` and divides the others by 1 - `rate`; the input itself at rate 0."""
    return F.dropout(inputs, rate) if train and rate > 0 else inputs


class Dropout(nn.Module):
    """`dropout` that follows the module's training mode."""

    def forward(self, inputs: Tensor, rate: float) -> Tensor:
        return dropout(inputs, rate, self.training)
