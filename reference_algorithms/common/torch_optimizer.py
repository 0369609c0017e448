"""What the optimizers written here share: the step, and the layout in which JAX holds a tensor."""

import abc
import enum
from collections.abc import Callable
from typing import Any

import torch

from algoperf import spec
from algoperf.pytorch_utils import unwrapped


class GroupOptimizer(torch.optim.Optimizer):
    """Updates each parameter group at once. `group["step"]` counts its updates from 1."""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, {"lr": 0.0, "step": 0, **defaults})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    group["step"] += 1
                    self.update(group, params, [p.grad for p in params])
        return loss

    @abc.abstractmethod
    def update(self, group: dict[str, Any], params: list[torch.Tensor], grads: list[torch.Tensor]) -> None:
        """Changes `params` in place, given their gradients; may overwrite the gradients."""

    def tensors(self, params: list[torch.Tensor], name: str) -> list[torch.Tensor]:
        """State tensors called `name`, of the shapes of `params`; zero at first."""
        for param in params:
            if name not in self.state[param]:
                self.state[param][name] = torch.zeros_like(param)
        return [self.state[p][name] for p in params]


class Layout(enum.StrEnum):
    """How a tensor of PyTorch lies relative to the same tensor in JAX."""

    SAME = "same"
    KERNEL = "kernel"  # [out, in, spatial ...]; in JAX [spatial ..., in, out]
    TRANSPOSED_CONVOLUTION = "transposed_convolution"  # [in, out, spatial ...]; in JAX [spatial ..., in, out]


def layout_groups(model: torch.nn.Module, workload: Any) -> list[dict[str, Any]]:
    """Parameter groups with a `layout` each. Embeddings lie as in JAX; every other matrix is taken for a kernel."""
    transposed = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d))
    }
    types = workload.model_params_types
    groups: dict[Layout, list[torch.nn.Parameter]] = {layout: [] for layout in Layout}
    for name, param in unwrapped(model).named_parameters():
        if id(param) in transposed:
            groups[Layout.TRANSPOSED_CONVOLUTION].append(param)
        else:
            is_kernel = param.ndim >= 2 and types[name] is not spec.ParameterType.EMBEDDING
            groups[Layout.KERNEL if is_kernel else Layout.SAME].append(param)
    return [{"params": params, "layout": layout.value} for layout, params in groups.items() if params]


def jax_view(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """A view of `tensor` with its axes in the order of JAX."""
    spatial = range(2, tensor.ndim)
    match Layout(layout):
        case Layout.SAME:
            return tensor
        case Layout.KERNEL:
            return tensor.permute(*spatial, 1, 0)
        case Layout.TRANSPOSED_CONVOLUTION:
            return tensor.permute(*spatial, 0, 1)
