"""Adafactor in the form of the AlgoPerf baselines.

`torch.optim.Adafactor` has no momentum and scales steps by the size of the parameters.
"""

from typing import Any

import numpy as np
import torch

from reference_algorithms.common.torch_optimizer import GroupOptimizer, jax_view


class Adafactor(GroupOptimizer):
    """Adam's memory for second moments, reduced to one row and one column over the two largest axes.

    g is the gradient. The averages over each of the two axes of g^2 + 1e-30 decay with
    b2_t = 0.99 (1 - 0.99^(t - 1)) / (1 - 0.99^t); V = row col / mean(row) (vectors: the average itself).
    x = g / sqrt(V), x <- x / max(1, rms(x)), m <- b1 m + (1 - b1) lr x, theta <- theta - m - lr lambda theta.

    Source: Shazeer & Stern 2018, Adafactor, algorithm 4 (V and the clipping of x); Zhai et al. 2022, Scaling Vision
    Transformers, section 3.5 (momentum, no parameter scaling).
    """

    def __init__(self, params: Any, *, beta1: float, weight_decay: float, decay: float = 0.99) -> None:
        super().__init__(params, {"beta1": beta1, "weight_decay": weight_decay, "decay": decay})

    def update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        lr, decay = group["lr"], group["decay"]
        decay_now = decay * (1 - decay ** (group["step"] - 1)) / (1 - decay ** group["step"])
        scaled = [self._scaled(p, g, group["layout"], decay_now) for p, g in zip(params, grads, strict=True)]
        rms = [norm / x.numel() ** 0.5 for norm, x in zip(torch._foreach_norm(scaled), scaled, strict=True)]
        torch._foreach_div_(scaled, [r.clamp(min=1.0) for r in rms])
        momenta = self.tensors(params, "momentum")
        torch._foreach_mul_(momenta, group["beta1"])
        torch._foreach_add_(momenta, scaled, alpha=(1 - group["beta1"]) * lr)
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        torch._foreach_sub_(params, momenta)

    def _scaled(self, param: torch.Tensor, grad: torch.Tensor, layout: str, decay: float) -> torch.Tensor:
        """The gradient over the square root of its second moments, in the layout of `param`."""
        state, squares = self.state[param], grad.square() + 1e-30
        if param.ndim < 2:
            mean: torch.Tensor = state.setdefault("mean", torch.zeros_like(param))
            mean.lerp_(squares, 1 - decay)
            return grad * mean.rsqrt()
        squares = jax_view(squares, layout)
        # The order of the axes decides which of several equal ones count as the largest two.
        first, second = (int(axis) for axis in np.argsort(tuple(squares.shape))[-2:])
        row = _averaged(state, "row", squares.mean(second, keepdim=True), decay)
        column = _averaged(state, "column", squares.mean(first, keepdim=True), decay)
        factor = (row / row.mean(first, keepdim=True)).rsqrt() * column.rsqrt()
        scaled = torch.empty_like(grad)
        jax_view(scaled, layout).copy_(jax_view(grad, layout) * factor)
        return scaled


def _averaged(state: dict[str, Any], name: str, value: torch.Tensor, decay: float) -> torch.Tensor:
    average: torch.Tensor = state.setdefault(name, torch.zeros_like(value))
    return average.lerp_(value, 1 - decay)
