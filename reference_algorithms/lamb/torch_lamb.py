"""LAMB, which torch.optim does not have."""

from typing import Any

import torch

from reference_algorithms.common.torch_optimizer import GroupOptimizer


class Lamb(GroupOptimizer):
    """Adam whose step has, tensor by tensor, the length of the parameters.

    u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + lambda theta; theta <- theta - lr |theta| / |u| u, where the
    ratio is 1 if either norm is 0.

    Source: You et al. 2020, Large Batch Optimization for Deep Learning, algorithm 2, with phi the identity.
    """

    def __init__(self, params: Any, *, betas: tuple[float, float], weight_decay: float, eps: float = 1e-8) -> None:
        super().__init__(params, {"betas": betas, "weight_decay": weight_decay, "eps": eps})

    def update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        exp_avgs, exp_avg_sqs = self.tensors(params, "exp_avg"), self.tensors(params, "exp_avg_sq")
        beta1, beta2 = group["betas"]
        correction1, correction2 = 1 - beta1 ** group["step"], 1 - beta2 ** group["step"]

        torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
        torch._foreach_mul_(exp_avg_sqs, beta2)
        torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)
        denominators = torch._foreach_sqrt(exp_avg_sqs)
        torch._foreach_div_(denominators, correction2**0.5)
        torch._foreach_add_(denominators, group["eps"])
        updates = torch._foreach_div(exp_avgs, denominators)
        torch._foreach_div_(updates, correction1)
        torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        norms = zip(torch._foreach_norm(params), torch._foreach_norm(updates), strict=True)
        ratios = [torch.where((theta > 0) & (u > 0), theta / u, 1.0) for theta, u in norms]
        torch._foreach_mul_(updates, ratios)
        torch._foreach_add_(params, updates, alpha=-group["lr"])
