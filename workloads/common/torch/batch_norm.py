"""Batch normalisation over the global batch, on any device and with any collective backend."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Normalises one axis with statistics over all others and over all processes of the default group.

    Unlike `nn.BatchNorm2d`, running variances are biased, `momentum` is the share that is kept, the statistics are
    those of the global batch (unlike `nn.SyncBatchNorm`, on CPU too), and `update_running_stats` freezes the
    running ones without leaving training mode.

    Args:
      num_features: size of the normalised axis.
      momentum: running <- momentum * running + (1 - momentum) * batch.
      epsilon: added to the variance.
      scale_init: initial value of `weight`.
      one_plus_scale: multiply by 1 + weight instead of weight (then `scale_init` should be 0).
      channel_axis: the normalised axis, 1 or -1.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        scale_init: float = 1.0,
        one_plus_scale: bool = False,
        channel_axis: int = 1,
    ) -> None:
        super().__init__()
        if channel_axis not in (1, -1):
            raise ValueError(f"channel_axis must be 1 or -1, got {channel_axis}")
        self.momentum = momentum
        self.epsilon = epsilon
        self.one_plus_scale = one_plus_scale
        self.channel_axis = channel_axis
        self.update_running_stats = True
        self.weight = nn.Parameter(torch.full((num_features,), float(scale_init)))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns normalised `inputs` [batch, ...].

        `mask` has the shape of some leading axes of `inputs` before the channel axis; where it is 0, elements do not
        count and become 0.
        """
        scale = 1 + self.weight if self.one_plus_scale else self.weight
        several = inputs.numel() > inputs.shape[self.channel_axis]  # the library's kernel refuses to train on one value
        if mask is None and self.channel_axis == 1 and (not self.training or (several and _world_size() == 1)):
            return self._fused(inputs, scale)
        if mask is not None:
            mask = mask.reshape(mask.shape + (1,) * (inputs.ndim - mask.ndim)).to(inputs.dtype)
        if self.training:
            mean, var = self._global_moments(inputs, mask)
            self._update(mean, var)
        else:
            mean, var = self.running_mean, self.running_var
        factor = torch.rsqrt(var + self.epsilon) * scale
        outputs = (inputs - self._spread(mean, inputs)) * self._spread(factor, inputs) + self._spread(self.bias, inputs)
        return outputs if mask is None else outputs * mask

    def _fused(self, inputs: Tensor, scale: Tensor) -> Tensor:
        """The library's kernel, for one process; it reports the batch's statistics through momentum-1 buffers."""
        if not self.training:
            return F.batch_norm(inputs, self.running_mean, self.running_var, scale, self.bias, eps=self.epsilon)
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        outputs = F.batch_norm(inputs, mean, var, scale, self.bias, training=True, momentum=1.0, eps=self.epsilon)
        count = inputs.numel() // inputs.shape[1]
        self._update(mean, var * ((count - 1) / count))
        return outputs

    @torch.no_grad()
    def _update(self, mean: Tensor, var: Tensor) -> None:
        if self.update_running_stats:
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), 1 - self.momentum)
            self.running_var.lerp_(var.detach().to(self.running_var.dtype), 1 - self.momentum)

    def _global_moments(self, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and biased variance [features] over the batch of all processes.

        Each process sends count, mean and sum of squared deviations: exact, and one collective.
        """
        axes = [axis for axis in range(inputs.ndim) if axis != self.channel_axis % inputs.ndim]
        if mask is None:
            count = inputs.new_full((), inputs.numel() // inputs.shape[self.channel_axis])
            mean = inputs.mean(axes)
            deviations = (inputs - self._spread(mean, inputs)).square().sum(axes)
        else:
            shape = list(inputs.shape)
            shape[self.channel_axis] = 1
            count = mask.expand(shape).sum()
            mean = (inputs * mask).sum(axes) / count.clamp(min=1)
            deviations = ((inputs - self._spread(mean, inputs)).square() * mask).sum(axes)
        if _world_size() == 1:
            return mean, deviations / count.clamp(min=1)
        return _combined_moments(count, mean, deviations)

    def _spread(self, features: Tensor, inputs: Tensor) -> Tensor:
        if self.channel_axis == -1:
            return features
        return features.view(-1, *(1,) * (inputs.ndim - 2))


def _combined_moments(count: Tensor, mean: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Global mean and biased variance from each process's count [], mean and sum of squared deviations [features]."""
    num_features = mean.numel()
    rows = all_gather_rows(torch.cat([count.reshape(1), mean, deviations]))
    counts, means, all_deviations = rows[:, :1], rows[:, 1 : num_features + 1], rows[:, num_features + 1 :]
    total = counts.sum().clamp(min=1)
    global_mean = (counts * means).sum(0) / total
    spread = all_deviations + counts * (means - global_mean).square()
    return global_mean, spread.sum(0) / total


def all_gather_rows(row: Tensor) -> Tensor:
    """Stacks the 1-d `row` of every process; differentiable: gradients are summed over the processes."""
    rows = row.new_zeros(_world_size(), row.numel())
    rows[dist.get_rank()] = row
    return all_reduce_sum(rows)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of `tensor` over the default process group; differentiable; `tensor` itself where there is one process."""
    if _world_size() == 1:
        return tensor
    total: Tensor = _AllReduceSum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
