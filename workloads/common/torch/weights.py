"""Maps a module's tensors to Flax names and layouts and back, by a table of `Entry`s.

A `torch_model.py` lists one entry or group of entries for each layer and calls `export_weights` and
`import_weights`; every parameter and buffer of the module must be covered.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from algoperf.backends.base import Weights
from workloads.common.torch.forward import unwrapped

Array = np.ndarray
Arrays = Sequence[Array]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Tensors of a module's state that make up one or several Flax arrays.

    Attributes:
      torch_names: keys of the module's `state_dict`.
      flax_names: full names, for example `params/Dense_0/kernel`.
      to_flax: arrays of `torch_names` to arrays of `flax_names`.
      to_torch: the inverse.
    """

    torch_names: tuple[str, ...]
    flax_names: tuple[str, ...]
    to_flax: Callable[[Arrays], Arrays]
    to_torch: Callable[[Arrays], Arrays]


def one(torch_name: str, flax_name: str, to_flax: Callable[..., Any], to_torch: Callable[..., Any]) -> Entry:
    """One tensor, one array."""
    return Entry(
        torch_names=(torch_name,),
        flax_names=(flax_name,),
        to_flax=lambda arrays: [to_flax(arrays[0])],
        to_torch=lambda arrays: [to_torch(arrays[0])],
    )


def same(torch_name: str, flax_name: str) -> Entry:
    """Same shape and values."""
    return one(torch_name, flax_name, np.asarray, np.asarray)


def linear(torch_prefix: str, flax_path: str, *, bias: bool = True) -> list[Entry]:
    """`nn.Linear` [out, in] to `Dense` [in, out]; `flax_path` without the leading "params/"."""
    kernel = one(f"{torch_prefix}.weight", f"params/{flax_path}/kernel", np.transpose, np.transpose)
    return [kernel, *_bias(torch_prefix, flax_path, bias)]


def conv(torch_prefix: str, flax_path: str, *, bias: bool = True) -> list[Entry]:
    """`nn.Conv<n>d` [out, in, *positions] to `Conv` [*positions, in, out]."""
    kernel = one(f"{torch_prefix}.weight", f"params/{flax_path}/kernel", _channels_last, _channels_first)
    return [kernel, *_bias(torch_prefix, flax_path, bias)]


def conv_transpose(torch_prefix: str, flax_path: str, *, bias: bool = True) -> list[Entry]:
    """`nn.ConvTranspose<n>d` [in, out, *positions] to `ConvTranspose` [*positions, in, out], positions reversed.

    Equal outputs where the stride equals the kernel size.
    """

    def to_flax(weight: Array) -> Array:
        return np.flip(np.moveaxis(weight, (0, 1), (-2, -1)), _positions(weight))

    def to_torch(kernel: Array) -> Array:
        return np.moveaxis(np.flip(kernel, _positions(kernel)), (-2, -1), (0, 1))

    kernel = one(f"{torch_prefix}.weight", f"params/{flax_path}/kernel", to_flax, to_torch)
    return [kernel, *_bias(torch_prefix, flax_path, bias)]


def norm(torch_prefix: str, flax_path: str) -> list[Entry]:
    """Layer or instance norm: weight is scale."""
    return [same(f"{torch_prefix}.weight", f"params/{flax_path}/scale"), *_bias(torch_prefix, flax_path, True)]


def batch_norm(torch_prefix: str, flax_path: str) -> list[Entry]:
    """`workloads.common.torch.batch_norm.BatchNorm` with its running statistics."""
    return [
        *norm(torch_prefix, flax_path),
        same(f"{torch_prefix}.running_mean", f"batch_stats/{flax_path}/mean"),
        same(f"{torch_prefix}.running_var", f"batch_stats/{flax_path}/var"),
    ]


def embedding(torch_prefix: str, flax_path: str) -> list[Entry]:
    return [same(f"{torch_prefix}.weight", f"params/{flax_path}/embedding")]


def concatenated(torch_names: Sequence[str], flax_name: str) -> Entry:
    """Equal blocks of rows (a chunked embedding table) to one array."""
    return Entry(
        torch_names=tuple(torch_names),
        flax_names=(flax_name,),
        to_flax=lambda arrays: [np.concatenate(arrays)],
        to_torch=lambda arrays: np.split(arrays[0], len(torch_names)),
    )


def heads_in(torch_prefix: str, flax_paths: Sequence[str], num_heads: int, *, bias: bool = True) -> list[Entry]:
    """One `nn.Linear` of stacked projections [n * heads * depth, in] to n `DenseGeneral`s [in, heads, depth].

    `flax_paths` names the projections in the order of their rows: one path for a plain query, three for a fused
    query, key and value.
    """
    num_parts = len(flax_paths)

    def kernels(arrays: Arrays) -> Arrays:
        return [part.T.reshape(part.shape[1], num_heads, -1) for part in np.split(arrays[0], num_parts)]

    def weight(arrays: Arrays) -> Arrays:
        return [np.concatenate([kernel.reshape(len(kernel), -1).T for kernel in arrays])]

    entries = [
        Entry(
            torch_names=(f"{torch_prefix}.weight",),
            flax_names=tuple(f"params/{path}/kernel" for path in flax_paths),
            to_flax=kernels,
            to_torch=weight,
        )
    ]
    if bias:
        entries.append(
            Entry(
                torch_names=(f"{torch_prefix}.bias",),
                flax_names=tuple(f"params/{path}/bias" for path in flax_paths),
                to_flax=lambda arrays: [part.reshape(num_heads, -1) for part in np.split(arrays[0], num_parts)],
                to_torch=lambda arrays: [np.concatenate([part.reshape(-1) for part in arrays])],
            )
        )
    return entries


def heads_out(torch_prefix: str, flax_path: str, num_heads: int, *, bias: bool = True) -> list[Entry]:
    """`nn.Linear` [out, heads * depth] to `DenseGeneral` [heads, depth, out]."""
    kernel = one(
        f"{torch_prefix}.weight",
        f"params/{flax_path}/kernel",
        lambda weight: weight.T.reshape(num_heads, -1, len(weight)),
        lambda kernel: kernel.reshape(-1, kernel.shape[-1]).T,
    )
    return [kernel, *_bias(torch_prefix, flax_path, bias)]


def export_weights(module: nn.Module, entries: Iterable[Entry]) -> Weights:
    """Returns the state of `module` (wrapped or not) under Flax names; float values as they are.

    Raises:
      ValueError: the entries do not cover the module's state exactly.
    """
    state, entries = _covered_state(module, entries)
    weights: Weights = {}
    for entry in entries:
        arrays = entry.to_flax([state[name].detach().cpu().numpy() for name in entry.torch_names])
        weights.update(zip(entry.flax_names, map(np.array, arrays), strict=True))
    return weights


@torch.no_grad()
def import_weights(weights: Weights, module: nn.Module, entries: Iterable[Entry]) -> None:
    """Copies `weights` into `module` (wrapped or not), in place.

    Raises:
      ValueError: names or shapes differ from those of the module.
    """
    state, entries = _covered_state(module, entries)
    expected = {name for entry in entries for name in entry.flax_names}
    missing, unexpected = expected - weights.keys(), weights.keys() - expected
    if missing or unexpected:
        raise ValueError(f"weights do not fit this model: missing {sorted(missing)}, unexpected {sorted(unexpected)}")
    for entry in entries:
        arrays = entry.to_torch([np.asarray(weights[name]) for name in entry.flax_names])
        for name, array in zip(entry.torch_names, arrays, strict=True):
            if tuple(array.shape) != tuple(state[name].shape):
                raise ValueError(
                    f"{name} (from {', '.join(entry.flax_names)}) must have shape {tuple(state[name].shape)}, "
                    f"got {tuple(array.shape)}"
                )
            state[name].copy_(torch.from_numpy(np.array(array)))


def _covered_state(module: nn.Module, entries: Iterable[Entry]) -> tuple[dict[str, torch.Tensor], list[Entry]]:
    module = unwrapped(module)
    tensors = [*module.named_parameters(), *module.named_buffers()]
    persistent = module.state_dict().keys()
    state = {name: tensor for name, tensor in tensors if name in persistent}
    entries = list(entries)
    covered = [name for entry in entries for name in entry.torch_names]
    if sorted(covered) != sorted(state):
        raise ValueError(
            f"the table must name every tensor once: missing {sorted(state.keys() - set(covered))}, "
            f"unknown {sorted(set(covered) - state.keys())}, "
            f"repeated {sorted({name for name in covered if covered.count(name) > 1})}"
        )
    return state, entries


def _bias(torch_prefix: str, flax_path: str, present: bool) -> list[Entry]:
    return [same(f"{torch_prefix}.bias", f"params/{flax_path}/bias")] if present else []


def _channels_last(weight: Array) -> Array:
    return np.moveaxis(weight, (1, 0), (-2, -1))


def _channels_first(kernel: Array) -> Array:
    return np.moveaxis(kernel, (-2, -1), (1, 0))


def _positions(array: Array) -> tuple[int, ...]:
    return tuple(range(array.ndim - 2))
