"""Nesterov-accelerated AdamW, which torch.optim has only with a schedule on the momentum."""

from typing import Any

import torch

from reference_algorithms.common.torch_optimizer import GroupOptimizer


class NadamW(GroupOptimizer):
    """AdamW with a Nesterov step in the momentum.

    With m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) g^2, update number t is, with decay lambda,
    theta <- theta - lr ((b1 m + (1 - b1) g) / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + lambda theta).

    Source: Dozat 2016, Incorporating Nesterov Momentum into Adam, algorithm 2 with constant momentum, in the form of
    the AlgoPerf baselines: one bias correction for both terms (`torch.optim.NAdam` varies the momentum with t).
    """

    def __init__(self, params: Any, *, betas: tuple[float, float], weight_decay: float, eps: float = 1e-8) -> None:
        super().__init__(params, {"betas": betas, "weight_decay": weight_decay, "eps": eps})

    def update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        nadamw_update(self, group, params, grads)


def nadamw_update(
    optimizer: GroupOptimizer, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]
) -> None:
    """One NadamW update of `params` in place; the group has `betas`, `eps`, `weight_decay`, `lr` and `step`."""
    exp_avgs, exp_avg_sqs = optimizer.tensors(params, "exp_avg"), optimizer.tensors(params, "exp_avg_sq")
    (beta1, beta2), lr = group["betas"], group["lr"]
    correction1, correction2 = 1 - beta1 ** group["step"], 1 - beta2 ** group["step"]

    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, correction2**0.5)
    torch._foreach_add_(denominators, group["eps"])
    numerators = torch._foreach_lerp(exp_avgs, grads, 1 - beta1)
    torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
    torch._foreach_addcdiv_(params, numerators, denominators, -lr / correction1)
