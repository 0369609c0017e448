"""Memory of a training step in JAX, foretold without compiling it: from the lifetimes of arrays in its jaxpr.

What a compiler fuses is not written to memory: a cheap elementwise result is computed again by each of its readers, a
costly one is fused into its only reader. Whatever a matrix product, a convolution, a gather or a sort reads is written.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from algoperf import spec
from algoperf.backends import memory_shortage
from algoperf.backends.base import Model

# Moments of AdamW, the state of most optimizers.
_OPTIMIZER_TREES = 2
# Batches that lie on the device: the one in use and those that the prefetcher holds ready.
_BATCHES_HELD = 3


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VIEWS = _names("""
    reshape squeeze expand_dims broadcast_in_dim iota transpose convert_element_type bitcast_convert_type slice rev
    copy stop_gradient random_wrap random_unwrap optimization_barrier reduce_precision sharding_constraint
""")
_CHEAP = _names("""
    add sub mul neg max min abs sign floor ceil round clamp square rem select_n eq ne lt le gt ge and or not xor
    is_finite shift_left shift_right_logical shift_right_arithmetic add_any pad concatenate real imag complex conj
""")
_COSTLY = _names("""
    exp exp2 log log1p expm1 tanh logistic erf erfc erf_inv rsqrt sqrt cbrt div pow integer_pow sin cos atan2
    random_bits threefry2x32 random_seed random_fold_in random_split
""")
_REDUCTIONS = _names("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or argmax argmin")
_LOOPS = {"scan": "jaxpr", "while": "body_jaxpr"}


class _Array:
    """A value in a program, told from others by identity."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes


class _Operation(NamedTuple):
    name: str
    reads: list[_Array]
    writes: list[_Array]
    workspace: int  # bytes while it runs


class _Use(NamedTuple):
    """Who reads a value: `is_written` where one of them needs it in memory."""

    is_written: bool
    num_readers: int


_Buffers = dict[_Array, frozenset[_Array]]


def training_bytes(model: Model, batch: spec.Batch, *, dropout_rate: float = 0.1) -> int:
    """Peak bytes of training with AdamW on batches like `batch`: parameters, moments, gradients, activations.

    Workspaces of kernels (large for convolutions of few examples) and the driver's own memory come on top.
    """
    key = jax.ShapeDtypeStruct((2,), np.uint32)
    params, state = jax.eval_shape(model.init, key)
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), dict(batch))

    def mean_loss(params: Any, state: Any, batch: Any, key: Any) -> Any:
        logits, new_state = model.forward(
            params, batch, state, train=True, rng=key, update_batch_norm=True, dropout_rate=dropout_rate
        )
        loss = model.loss(batch["targets"], logits, batch.get("weights"), 0.0)
        return loss["summed"] / loss["n_valid_examples"], new_state

    step = jax.make_jaxpr(jax.value_and_grad(mean_loss, has_aux=True))(params, state, shapes, key)
    held = (1 + _OPTIMIZER_TREES) * _tree_bytes(params) + _tree_bytes(state) + _BATCHES_HELD * _tree_bytes(shapes)
    return held + _peak_bytes(step.jaxpr)


def shortage(model: Model, batch: spec.Batch, available_bytes: int) -> str | None:
    """What a person should know before a run on batches like `batch`; None where a step seems to fit.

    Args:
      available_bytes: that the process may use of a device.
    """
    return memory_shortage.warning(
        lambda rows: training_bytes(model, first_rows(batch, rows)),
        len(batch["targets"]),
        [len(array) for array in jax.tree.leaves(batch)],
        available_bytes,
    )


def first_rows(batch: spec.Batch, count: int) -> spec.Batch:
    """The first `count` rows of every array."""
    rows: spec.Batch = jax.tree.map(lambda array: array[:count], dict(batch))
    return rows


def _peak_bytes(jaxpr: core.Jaxpr) -> int:
    """The most that results of a program's operations take at a time; its inputs not counted."""
    arrays = {variable: _Array(0) for variable in (*jaxpr.invars, *jaxpr.constvars)}
    operations = list(_operations(jaxpr, arrays))
    results = {arrays[v] for v in jaxpr.outvars if not isinstance(v, core.Literal)}
    buffers = _buffers(operations, _uses(operations, results))
    born, dies = {}, {}
    for number, operation in enumerate(operations):
        for buffer in _backing(operation.reads, buffers):
            dies[buffer] = number
        for array in operation.writes:
            if array in buffers[array]:
                born[array] = dies[array] = number
    dies |= dict.fromkeys(_backing(results, buffers), len(operations))
    change: dict[int, int] = defaultdict(int)
    for buffer, number in born.items():
        change[number] += buffer.num_bytes
        change[dies[buffer] + 1] -= buffer.num_bytes
    live = itertools.accumulate(change[number] for number in range(len(operations)))
    return max((now + operation.workspace for now, operation in zip(live, operations, strict=True)), default=0)


def _operations(jaxpr: core.Jaxpr, arrays: dict[Any, _Array]) -> Iterable[_Operation]:
    """The operations in their order, those of inner functions in place of their calls; `arrays` is filled."""
    for equation in jaxpr.eqns:
        reads = [_Array(0) if isinstance(v, core.Literal) else arrays[v] for v in equation.invars]
        inner = _called(equation)
        if inner is None:
            arrays.update((variable, _Array(_bytes(variable.aval))) for variable in equation.outvars)
            writes = [arrays[variable] for variable in equation.outvars]
            yield _Operation(equation.primitive.name, reads, writes, _workspace(equation))
            continue
        own = dict(zip(inner.invars, reads[len(reads) - len(inner.invars) :], strict=True))
        own |= {variable: _Array(0) for variable in inner.constvars}
        yield from _operations(inner, own)
        for outer, result in zip(equation.outvars, inner.outvars, strict=True):
            arrays[outer] = _Array(0) if isinstance(result, core.Literal) else own[result]


def _called(equation: Any) -> core.Jaxpr | None:
    """The function that an equation does nothing but call."""
    if equation.primitive.name in _LOOPS or equation.primitive.name == "cond":
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if (inner := equation.params.get(name)) is not None:
            called: core.Jaxpr = getattr(inner, "jaxpr", inner)
            return called
    return None


def _workspace(equation: Any) -> int:
    """What the body of a loop or the largest branch of a condition takes besides its results."""
    name = equation.primitive.name
    if name in _LOOPS:
        return _peak_bytes(equation.params[_LOOPS[name]].jaxpr)
    if name == "cond":
        return max(_peak_bytes(branch.jaxpr) for branch in equation.params["branches"])
    return 0


def _uses(operations: Sequence[_Operation], results: set[_Array]) -> dict[_Array, _Use]:
    """Of each value, from the last operation to the first; readers of a view read what it is a view of."""
    written = set(results)
    readers: dict[_Array, int] = defaultdict(int)
    uses: dict[_Array, _Use] = {}
    for operation in reversed(operations):
        uses |= {array: _Use(array in written, readers[array]) for array in operation.writes}
        is_view = operation.name in _VIEWS
        if not is_view and operation.name not in _CHEAP | _COSTLY | _REDUCTIONS:
            written.update(operation.reads)
        for array in operation.reads:
            readers[array] += sum(uses[view].num_readers for view in operation.writes) if is_view else 1
            if is_view and any(uses[view].is_written for view in operation.writes):
                written.add(array)
    return uses


def _buffers(operations: Sequence[_Operation], uses: dict[_Array, _Use]) -> _Buffers:
    """The arrays in memory from which each value is read: itself, or what it is a view of or fused from."""
    buffers: _Buffers = {}
    for operation in operations:
        sources = _backing(operation.reads, buffers)
        for array in operation.writes:
            use = uses[array]
            is_fused = not use.is_written and (
                operation.name in _CHEAP or (operation.name in _COSTLY and use.num_readers <= 1)
            )
            buffers[array] = sources if is_fused or operation.name in _VIEWS else frozenset([array])
    return buffers


def _backing(values: Iterable[_Array], buffers: _Buffers) -> frozenset[_Array]:
    """Inputs of the program have none: they are counted apart."""
    return frozenset().union(*(buffers.get(value, frozenset()) for value in values))


def _tree_bytes(tree: Any) -> int:
    return sum(map(_bytes, jax.tree.leaves(tree)))


def _bytes(abstract: Any) -> int:
    """Of an array by its shape; keys of JAX's random numbers are small."""
    if not hasattr(abstract, "shape") or not isinstance(abstract.dtype, np.dtype):
        return 0
    return int(math.prod(abstract.shape) * abstract.dtype.itemsize)
