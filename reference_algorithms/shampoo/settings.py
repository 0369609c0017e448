"""Settings of Shampoo that search spaces leave alone, and how it cuts tensors; both frameworks use them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ShampooSettings:
    """Attributes:
    block_size: largest side of a preconditioner; tensors are cut to it.
    merge_size: neighbouring axes, except the last, are merged while their product is at most this.
    max_dimension: tensors with a larger (merged) axis are not preconditioned, only grafted: tables of embeddings. The
      value is the default `skip_preconditioning_dim_size_gt` of the implementation of Anil et al. 2020.
    root_every_steps: inverse roots are computed at updates 0, n, 2 n ...
    start_step: the first update, from 0, that is preconditioned; those before only graft.
    matrix_epsilon: ridge on the statistics, relative to their largest eigenvalue.
    graft_epsilon: added to the root of the grafting accumulator.
    """

    block_size: int = 1024
    merge_size: int = 4096
    max_dimension: int = 4096
    root_every_steps: int = 20
    start_step: int = 100
    matrix_epsilon: float = 1e-6
    graft_epsilon: float = 1e-8


def shampoo_settings(hyperparameters: Any) -> ShampooSettings:
    """The settings, with those that the hyperparameters name replaced."""
    names = ShampooSettings.__dataclass_fields__
    return ShampooSettings(**{name: getattr(hyperparameters, name) for name in names if hasattr(hyperparameters, name)})


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A tensor as preconditioned blocks: it is reshaped to `shape`, then cut at `slices`, each of `block_shapes`."""

    shape: tuple[int, ...]
    slices: tuple[tuple[slice, ...], ...]

    @property
    def block_shapes(self) -> list[tuple[int, ...]]:
        return [tuple(part.stop - part.start for part in slices) for slices in self.slices]


def cut(shape: tuple[int, ...], settings: ShampooSettings) -> Blocks:
    """Cuts a tensor of `shape` (axes as in JAX). No blocks: it is not preconditioned."""
    merged = _merged(shape, settings.merge_size)
    if math.prod(merged) == 1 or max(merged) > settings.max_dimension:
        return Blocks(shape=merged, slices=())
    size = settings.block_size
    ranges = [[slice(start, min(start + size, n)) for start in range(0, n, size)] for n in merged]
    grid = np.ndindex(*(len(r) for r in ranges))
    return Blocks(shape=merged, slices=tuple(tuple(r[i] for r, i in zip(ranges, at, strict=True)) for at in grid))


def _merged(shape: tuple[int, ...], merge_size: int) -> tuple[int, ...]:
    """Merges neighbours, but not the last axis: a small matrix stays one. Axes of size 1 go away."""
    *inputs, last = shape or (1,)
    merged, product = [], 1
    for size in inputs:
        if product * size > merge_size:
            merged.append(product)
            product = 1
        product *= size
    return tuple(size for size in (*merged, product, last) if size > 1) or (1,)


def start_vector(side: int) -> np.ndarray:
    """Where the power iteration starts: a fixed vector [side] of norm 1, float32."""
    vector = np.random.default_rng(0).uniform(-1.0, 1.0, side)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
