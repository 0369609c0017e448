"""Which parameters Muon takes as matrices in JAX, and NadamW for the rest."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from optax.contrib import MuonDimensionNumbers

from algoperf.spec import ParameterType
from reference_algorithms.common.jax_nadam import nadamw

_INPUT_AXIS_FIRST = frozenset(
    {
        ParameterType.ATTENTION_Q,
        ParameterType.ATTENTION_K,
        ParameterType.ATTENTION_V,
        ParameterType.ATTENTION_QKV,
        ParameterType.ATTENTION_KV,
    }
)
_OUTPUT_AXIS_LAST = frozenset({ParameterType.WEIGHT, ParameterType.CONV_WEIGHT, ParameterType.ATTENTION_OUT})


class MatrixSpec(NamedTuple):
    """How Muon takes a tensor for a matrix, and the factor on the orthogonal matrix."""

    dimensions: MuonDimensionNumbers
    scale: float


def matrix_specs(workload: Any) -> Any:
    """Tree like the parameters: a `MatrixSpec`, or None for what NadamW trains.

    Kernels and attention projections outside the output layer are matrices, embeddings are not.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, shape, kind: _matrix_spec(workload.is_output_params(path[0].key), shape.shape_tuple, kind),
        workload.param_shapes,
        workload.model_params_types,
    )


def _matrix_spec(is_output: bool, shape: tuple[int, ...], kind: ParameterType) -> MatrixSpec | None:
    if is_output or len(shape) < 2 or kind not in _INPUT_AXIS_FIRST | _OUTPUT_AXIS_LAST:
        return None
    axes, split = tuple(range(len(shape))), 1 if kind in _INPUT_AXIS_FIRST else len(shape) - 1
    dimensions = MuonDimensionNumbers(reduction_axis=axes[:split], output_axis=axes[split:])
    return MatrixSpec(dimensions, 0.2 * max(math.prod(shape[:split]), math.prod(shape[split:])) ** 0.5)


def muon(
    learning_rate: optax.Schedule,
    *,
    momentum: float,
    b1: float,
    b2: float,
    weight_decay: float,
    specs: Any,
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) for the parameters that have a `MatrixSpec`, NadamW (b1, b2) for the rest.

    Muon's update has a root mean square of 0.2, about that of Adam's (Liu et al. 2025, Muon is Scalable for LLM
    Training, equation 4), so that one learning rate and one decay serve both.
    """

    def of_matrices(leaf_fn: Callable[[MatrixSpec], Any], other: Any) -> Any:
        return jax.tree.map(lambda s: other if s is None else leaf_fn(s), specs, is_leaf=_is_spec)

    scales = of_matrices(lambda s: s.scale, optax.MaskedNode())
    matrices = optax.chain(
        optax.contrib.scale_by_muon(
            beta=momentum, weight_dimension_numbers=of_matrices(lambda s: s.dimensions, optax.MaskedNode())
        ),
        optax.stateless(lambda updates, _: jax.tree.map(lambda scale, u: scale * u, scales, updates)),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    others = nadamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)
    labels = of_matrices(lambda s: "muon", "nadamw")
    return optax.partition({"muon": matrices, "nadamw": others}, labels)


def _is_spec(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, MatrixSpec)
