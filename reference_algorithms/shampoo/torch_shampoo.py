"""Distributed Shampoo, which torch.optim does not have."""

from collections import defaultdict
from typing import Any, NamedTuple

import torch

from reference_algorithms.common.torch_optimizer import GroupOptimizer, jax_view
from reference_algorithms.shampoo.settings import Blocks, ShampooSettings, cut, start_vector

_ROOT_ITERATIONS = 100
_ITERATIONS_BETWEEN_CHECKS = 10
_POWER_ITERATIONS = 50
_TINY = 1e-25


class Preconditioner(NamedTuple):
    """Of one axis of one block: the average of G_(i) G_(i)^T and its inverse root of `power`, both [side, side]."""

    statistic: torch.Tensor
    root: torch.Tensor
    power: int


class Shampoo(GroupOptimizer):
    """Shampoo on blocks, with the length of the step from normalised RMSProp.

    For a block G with k axes, L_i <- b2 L_i + (1 - b2) G_(i) G_(i)^T, where G_(i) unfolds axis i; P = G times
    (L_i + eps max_eigenvalue(L_i) I)^(-1/2k) on every axis i; the roots are renewed every `root_every_steps`.
    Graft: h = g / |g|, a <- b2 a + (1 - b2) h^2, d = h / (sqrt(a) + eps). u = P |d| / |P| (d before `start_step`)
    + lambda theta; m <- b1 m + (1 - b1) u; theta <- theta - lr (b1 m + (1 - b1) u).

    Source: Anil et al. 2020, Scalable Second Order Optimization for Deep Learning, algorithm 1 and section 5 (blocks,
    grafting, delayed roots by coupled Newton); Gupta et al. 2018, Shampoo, algorithm 2.
    """

    def __init__(
        self, groups: Any, *, beta1: float, beta2: float, weight_decay: float, settings: ShampooSettings
    ) -> None:
        self._settings = settings
        super().__init__(groups, {"beta1": beta1, "beta2": beta2, "weight_decay": weight_decay})

    def update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        settings, count = self._settings, group["step"] - 1
        beta1, beta2 = group["beta1"], group["beta2"]
        steps = self._grafted(params, grads, beta2)
        views = [jax_view(g, group["layout"]) for g in grads]
        blocks = [cut(tuple(v.shape), settings) for v in views]
        preconditioners = [self._preconditioners(p, b) for p, b in zip(params, blocks, strict=True)]
        for cuts, matrices, view in zip(blocks, preconditioners, views, strict=True):
            _average(cuts, matrices, view, beta2)
        if count % settings.root_every_steps == 0:
            _renew_roots([one for block in preconditioners for axes in block for one in axes], settings.matrix_epsilon)
        if count >= settings.start_step:
            for step, cuts, matrices, view in zip(steps, blocks, preconditioners, views, strict=True):
                shaped = _preconditioned(cuts, matrices, view)
                shaped *= torch.linalg.vector_norm(step) / (torch.linalg.vector_norm(shaped) + _TINY)
                jax_view(step, group["layout"]).copy_(shaped)
        torch._foreach_add_(steps, params, alpha=group["weight_decay"])
        momenta = self.tensors(params, "momentum")
        torch._foreach_lerp_(momenta, steps, 1 - beta1)
        torch._foreach_add_(params, torch._foreach_lerp(momenta, steps, 1 - beta1), alpha=-group["lr"])

    def _grafted(self, params: list[torch.Tensor], grads: list[torch.Tensor], decay: float) -> list[torch.Tensor]:
        """Steps d of RMSProp on gradients of norm 1."""
        units = torch._foreach_div(grads, [n + _TINY for n in torch._foreach_norm(grads)])
        squares = self.tensors(params, "graft")
        torch._foreach_mul_(squares, decay)
        torch._foreach_addcmul_(squares, units, units, 1 - decay)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_add_(denominators, self._settings.graft_epsilon)
        torch._foreach_div_(units, denominators)
        return list(units)

    def _preconditioners(self, param: torch.Tensor, blocks: Blocks) -> list[list[Preconditioner]]:
        """For each block, for each axis; statistics start at zero, roots at the identity."""
        state, result = self.state[param], []
        for number, shape in enumerate(blocks.block_shapes):
            axes = []
            for axis, side in enumerate(shape):
                names = f"statistic_{number}_{axis}", f"root_{number}_{axis}"
                if names[0] not in state:
                    state[names[0]] = torch.zeros(side, side, dtype=param.dtype, device=param.device)
                    state[names[1]] = torch.eye(side, dtype=param.dtype, device=param.device)
                axes.append(Preconditioner(state[names[0]], state[names[1]], 2 * len(shape)))
            result.append(axes)
        return result


def _average(blocks: Blocks, preconditioners: list[list[Preconditioner]], grad: torch.Tensor, decay: float) -> None:
    grad = grad.reshape(blocks.shape)
    for slices, axes in zip(blocks.slices, preconditioners, strict=True):
        block = grad[slices]
        for axis, one in enumerate(axes):
            unfolded = block.movedim(axis, 0).reshape(block.shape[axis], -1)
            one.statistic.addmm_(unfolded, unfolded.T, beta=decay, alpha=1 - decay)


def _preconditioned(blocks: Blocks, preconditioners: list[list[Preconditioner]], grad: torch.Tensor) -> torch.Tensor:
    if not blocks.slices:
        return grad.clone()
    result = grad.reshape(blocks.shape).clone()
    for slices, axes in zip(blocks.slices, preconditioners, strict=True):
        block = result[slices]
        for one in axes:
            # Contracts the first axis and puts the result last: after all axes, their order is as before.
            block = torch.tensordot(block, one.root, dims=([0], [0]))
        result[slices] = block
    return result.reshape(grad.shape)


def _renew_roots(preconditioners: list[Preconditioner], epsilon: float) -> None:
    """Matrices of one side and one power are done together."""
    alike: dict[tuple[int, int], list[Preconditioner]] = defaultdict(list)
    for one in preconditioners:
        alike[len(one.statistic), one.power].append(one)
    for (_, power), chosen in alike.items():
        previous = torch.stack([one.root for one in chosen])
        renewed = inverse_root(torch.stack([one.statistic for one in chosen]), previous, power, epsilon)
        torch._foreach_copy_([one.root for one in chosen], list(renewed.unbind()))


def inverse_root(matrices: torch.Tensor, previous: torch.Tensor, power: int, epsilon: float) -> torch.Tensor:
    """(A + epsilon max_eigenvalue(A) I)^(-1/power) of positive matrices [n, side, side]; `previous` where it fails.

    Coupled Newton iteration: Higham 2008, Functions of Matrices, equation 7.18. The host looks at the progress every
    few iterations only.
    """
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    largest = _largest_eigenvalue(matrices).clamp(min=1e-30)[:, None, None]
    scale = (1.0 + power) / (2.0 * largest)
    product = (matrices + epsilon * largest * identity) * scale
    root = identity * scale ** (1.0 / power)
    error = (product - identity).abs().amax((1, 2))
    active = torch.ones_like(error, dtype=torch.bool)
    for iteration in range(_ROOT_ITERATIONS):
        if iteration % _ITERATIONS_BETWEEN_CHECKS == 0 and not active.any():
            break
        factor = identity + (identity - product) / power
        new_product = torch.linalg.matrix_power(factor, power) @ product
        new_error = (new_product - identity).abs().amax((1, 2))
        # Rounding ends the progress of ill-conditioned matrices: they keep what they had.
        active = active & (new_error < 1.2 * error)
        keep = active[:, None, None]
        product, root = torch.where(keep, new_product, product), torch.where(keep, root @ factor, root)
        error = torch.where(active, new_error, error)
        active = active & (error > 1e-6)
    return torch.where((error < 0.1)[:, None, None], root, previous)


def _largest_eigenvalue(matrices: torch.Tensor) -> torch.Tensor:
    start = torch.as_tensor(start_vector(matrices.shape[-1]), device=matrices.device)
    vectors = start.to(matrices.dtype).expand(matrices.shape[0], -1)[..., None]
    for _ in range(_POWER_ITERATIONS):
        vectors = matrices @ vectors
        vectors = vectors / (torch.linalg.vector_norm(vectors, dim=1, keepdim=True) + _TINY)
    return (vectors.mT @ matrices @ vectors)[:, 0, 0]
