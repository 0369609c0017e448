"""Nested parameter dicts to and from the flat names that both frameworks read (`params/Dense_0/kernel`)."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from algoperf.backends.base import Weights


def export_weights(params: Any, model_state: Any = None) -> Weights:
    """Returns every leaf of `params` under "params/..." and of `model_state` under its collection's name."""
    leaves = _flat({"params": params, **(model_state or {})})
    return {name: np.asarray(leaf) for name, leaf in leaves.items()}


def import_weights(weights: Weights, params: Any, model_state: Any = None) -> tuple[Any, Any]:
    """Returns (params, model_state) of the given structure, shapes, dtypes and placement that hold `weights`.

    Raises:
      ValueError: names or shapes differ from those of `params` and `model_state`.
    """
    template = {"params": params, **(model_state or {})}
    expected = _flat(template)
    missing, unexpected = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or unexpected:
        raise ValueError(f"weights do not fit this model: missing {sorted(missing)}, unexpected {sorted(unexpected)}")
    for name, leaf in expected.items():
        if tuple(weights[name].shape) != tuple(leaf.shape):
            raise ValueError(f"{name} must have shape {tuple(leaf.shape)}, got {tuple(weights[name].shape)}")
    filled = _fill(template, weights, ())
    new_params = filled.pop("params")
    return new_params, filled if model_state else model_state


def _flat(tree: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {"/".join(path): tree}
    return {name: leaf for key, value in tree.items() for name, leaf in _flat(value, (*path, str(key))).items()}


def _fill(tree: Any, weights: Weights, path: tuple[str, ...]) -> Any:
    if isinstance(tree, Mapping):
        return {key: _fill(value, weights, (*path, str(key))) for key, value in tree.items()}
    value = np.asarray(weights["/".join(path)], dtype=tree.dtype)
    return jax.device_put(value, tree.sharding) if isinstance(tree, jax.Array) else value
