"""Muon for matrices and NadamW for the rest.

`torch.optim.Muon` takes two-dimensional tensors only, computes in bfloat16 and has another Nesterov step; this one
follows `optax.contrib.scale_by_muon`, so that both frameworks train alike.
"""

from collections import defaultdict
from typing import Any

import torch

from algoperf import spec
from algoperf.pytorch_utils import unwrapped
from reference_algorithms.common.torch_nadam import nadamw_update
from reference_algorithms.common.torch_optimizer import (
    GroupOptimizer,
    jax_view,
    layout_groups,
)

# Jordan et al. 2024, Muon: coefficients of the quintic iteration.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5

# Matrices side by side in one tensor, along its output axis.
_FUSED = {spec.ParameterType.ATTENTION_QKV: 3, spec.ParameterType.ATTENTION_KV: 2}
_MATRICES = frozenset(
    {
        spec.ParameterType.WEIGHT,
        spec.ParameterType.CONV_WEIGHT,
        spec.ParameterType.ATTENTION_Q,
        spec.ParameterType.ATTENTION_K,
        spec.ParameterType.ATTENTION_V,
        spec.ParameterType.ATTENTION_OUT,
        *_FUSED,
    }
)


def muon_groups(model: torch.nn.Module, workload: Any) -> list[dict[str, Any]]:
    """Parameter groups: kernels and attention projections outside the output layer as matrices, NadamW for the rest."""
    types = workload.model_params_types
    names = {id(param): name for name, param in unwrapped(model).named_parameters()}
    groups: dict[tuple[Any, ...], list[torch.nn.Parameter]] = defaultdict(list)
    for group in layout_groups(model, workload):
        for param in group["params"]:
            name = names[id(param)]
            is_matrix = param.ndim >= 2 and types[name] in _MATRICES and not workload.is_output_params(name)
            groups[group["layout"], is_matrix, _FUSED.get(types[name], 1)].append(param)
    return [
        {"params": params, "layout": layout, "is_matrix": is_matrix, "num_fused": num_fused}
        for (layout, is_matrix, num_fused), params in groups.items()
    ]


class Muon(GroupOptimizer):
    """Momentum made orthogonal by Newton-Schulz iterations, for groups with `is_matrix`.

    B <- mu B + (1 - mu) G; M = mu B / (1 - mu^(t+1)) + (1 - mu) G / (1 - mu^t); O is M with its singular values
    pulled to about 1; theta <- theta - lr (0.2 sqrt(max(rows, columns)) O + lambda theta).

    Source: Jordan et al. 2024, Muon; the factor is that of Liu et al. 2025, Muon is Scalable for LLM Training,
    equation 4, with which one learning rate and one decay serve NadamW too.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, momentum: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(groups, {"momentum": momentum, "betas": betas, "weight_decay": weight_decay, "eps": 1e-8})

    def update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        if not group["is_matrix"]:
            nadamw_update(self, group, params, grads)
            return
        mu, step = group["momentum"], group["step"]
        momenta = self.tensors(params, "momentum")
        torch._foreach_lerp_(momenta, grads, 1 - mu)
        lookahead = torch._foreach_mul(momenta, mu / (1 - mu ** (step + 1)))
        torch._foreach_add_(lookahead, grads, alpha=(1 - mu) / (1 - mu**step))
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        self._descend(params, list(lookahead), group)

    def _descend(self, params: list[torch.Tensor], momenta: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Orthogonalises matrices of one shape together."""
        matrices = [_matrices(m, group["layout"], group["num_fused"]) for m in momenta]
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, matrix in enumerate(matrices):
            by_shape[matrix.shape].append(index)
        for shape, indices in by_shape.items():
            orthogonal = orthogonalized(torch.cat([matrices[i] for i in indices]), group["eps"])
            scale = 0.2 * max(shape[1:]) ** 0.5
            for index, part in zip(indices, orthogonal.split(group["num_fused"]), strict=True):
                target = jax_view(params[index], group["layout"])
                target.sub_(part.movedim(0, 1).reshape(target.shape), alpha=group["lr"] * scale)


def _matrices(tensor: torch.Tensor, layout: str, num_fused: int) -> torch.Tensor:
    """The tensor as matrices [num_fused, in, out]."""
    view = jax_view(tensor, layout)
    return view.reshape(-1, num_fused, view.shape[-1] // num_fused).movedim(1, 0)


def orthogonalized(matrices: torch.Tensor, eps: float) -> torch.Tensor:
    """Pulls the singular values of each of `matrices` [n, rows, columns] to about 1 (0.7 to 1.2)."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + eps)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
