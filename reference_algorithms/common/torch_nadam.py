"""Nesterov-accelerated AdamW, which torch.optim has only with a schedule on the momentum."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class NadamW(torch.optim.Optimizer):
    """AdamW with a Nesterov step in the momentum.

    With m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) g^2, update number t is, with decay lambda,
    theta <- theta - lr ((b1 m + (1 - b1) g) / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + lambda theta).

    Source: Dozat 2016, Incorporating Nesterov Momentum into Adam, algorithm 2 with constant momentum, in the form of
    the AlgoPerf baselines: one bias correction for both terms (`torch.optim.NAdam` varies the momentum with t).
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.0,
        betas: tuple[float, float],
        weight_decay: float,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps, "step": 0})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        grads = [p.grad for p in params]
        for param in params:
            if not self.state[param]:
                self.state[param] = {"exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)}
        exp_avgs = [self.state[p]["exp_avg"] for p in params]
        exp_avg_sqs = [self.state[p]["exp_avg_sq"] for p in params]
        (beta1, beta2), lr = group["betas"], group["lr"]
        group["step"] += 1
        correction1, correction2 = 1 - beta1 ** group["step"], 1 - beta2 ** group["step"]

        torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
        torch._foreach_mul_(exp_avg_sqs, beta2)
        torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)
        denominators = torch._foreach_sqrt(exp_avg_sqs)
        torch._foreach_div_(denominators, correction2**0.5)
        torch._foreach_add_(denominators, group["eps"])
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        numerators = torch._foreach_lerp(exp_avgs, grads, 1 - beta1)
        torch._foreach_addcdiv_(params, numerators, denominators, -lr / correction1)
