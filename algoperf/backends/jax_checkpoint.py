"""Device state of a JAX run on disk: arrays through Orbax, everything else as JSON beside them.

The structure of the tree is stored as well (`jax_structure`), and what was fresh at the start of the run, to recognise
the same submission and workload on reading.
"""

import contextlib
import functools
import gc
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from algoperf import jax_sharding_utils
from algoperf.backends import jax_structure
from algoperf.backends.base import StateMismatchError, UnsavableStateError

Signature = list[list[Any]]  # [path, shape, dtype] of each leaf
Stored = list[tuple[dict[str, Any], Any]]
_ARRAYS = "arrays"
_LEAVES = "leaves.json"
_OS_ERROR_CODE = re.compile(r"os_error_code='(\d+)'")
_ENTRIES = ("model_params", "model_state", "optimizer_state")


def save(directory: Path, state: Mapping[str, Any], fresh_signature: Signature | None = None) -> None:
    """Writes `state` into `directory`; all processes call it. Functions are not written (see `load`).

    Args:
      fresh_signature: of the optimizer state as `init_optimizer_state` returned it; None where it is still alike.

    Raises:
      UnsavableStateError: a leaf is neither an array nor a number, string, None or function.
      OSError: the files cannot be written.
    """
    content, arrays = _signed(state, fresh_signature)
    if jax.process_index() == 0:
        (directory / _LEAVES).write_text(json.dumps(content))
    if arrays:
        _write_arrays(directory.absolute() / _ARRAYS, arrays)


def write(file: BinaryIO, state: Mapping[str, Any], fresh_signature: Signature | None = None) -> None:
    """Writes what `save` does, of one process, into one file: a line of JSON, then the bytes of the arrays in order.

    Raises:
      UnsavableStateError: as in `save`.
    """
    content, arrays = _signed(state, fresh_signature)
    host = [np.asarray(array) for array in arrays.values()]
    content["bytes"] = [[list(array.shape), array.dtype.name] for array in host]
    file.write(json.dumps(content).encode() + b"\n")
    for array in host:
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read(file: BinaryIO, template: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what `write` wrote; raises as `load` does."""
    content = json.loads(file.readline())
    kinds = [(shape, jnp.dtype(name)) for shape, name in content["bytes"]]
    arrays = [np.frombuffer(file.read(math.prod(s) * dtype.itemsize), dtype).reshape(s) for s, dtype in kinds]

    def placed(record: dict[str, Any], leaf: Any, array: np.ndarray) -> Any:
        if record["kind"] == "host":
            return array.copy()
        return jax.device_put(array.copy(), _sharding(leaf, record))

    return _rebuilt(content, template, lambda pairs: map(placed, *zip(*pairs, strict=True), arrays) if pairs else ())


def _signed(state: Mapping[str, Any], fresh_signature: Signature | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `encode`, with what tells this run from another."""
    content, arrays = encode(state)
    own = {name: signature(state[name], name) for name in _ENTRIES}
    if fresh_signature is not None:
        own["optimizer_state"] = fresh_signature
    return {**content, "signature": [e for name in _ENTRIES for e in own[name]]}, arrays


def encode(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what JSON holds of `state`, and its arrays by name.

    Raises:
      UnsavableStateError: as in `save`.
    """
    leaves: list[Any] = []
    records: list[dict[str, Any]] = []

    def add_leaf(path: tuple[Any, ...], leaf: Any) -> int:
        text = jax.tree_util.keystr(path)
        records.append({"path": text, **_record(text, leaf)})
        leaves.append(leaf)
        return len(leaves) - 1

    node = jax_structure.describe(_entries(state), add_leaf)
    stored = [leaf for record, leaf in zip(records, leaves, strict=True) if _is_stored(record)]
    return {"structure": node, "leaves": records}, {_name(index): _raw(leaf) for index, leaf in enumerate(stored)}


def signature(tree: Any, name: str) -> Signature:
    """Paths of the leaves of the entry `name` of a state, with shape and dtype where they are arrays."""
    leaves, _ = jax.tree_util.tree_flatten_with_path({name: tree})
    return [[jax.tree_util.keystr(path), *_shape_and_dtype(leaf)] for path, leaf in leaves]


def load(directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what `save` wrote: arrays with the template's placement, functions taken from the template.

    The structure of the optimizer state may have changed in training; what `init_optimizer_state` returns must be as it
    was.

    Raises:
      StateMismatchError: another submission or workload wrote it: the template has other leaves, shapes or dtypes than
        the fresh state of that run.
      ValueError: the files are unreadable.
    """
    content = json.loads((directory / _LEAVES).read_text())
    if isinstance(content, list):  # as written before structures were stored
        content = _with_structure_of(template, content)

    def restored(stored: Stored) -> Iterable[Any]:
        requested = {_name(index): _restore_args(record, leaf) for index, (record, leaf) in enumerate(stored)}
        return _read_arrays(directory.absolute() / _ARRAYS, requested)

    return _rebuilt(content, template, restored)


def _rebuilt(
    content: dict[str, Any], template: Mapping[str, Any], restored: Callable[[Stored], Iterable[Any]]
) -> dict[str, Any]:
    """The state that `content` describes.

    Args:
      restored: arrays for the leaves that have one: records, each with the template's leaf.
    """
    _check_signature(content["signature"], [e for name in _ENTRIES for e in signature(template[name], name)])
    entries, records = _entries(template), content["leaves"]
    counterparts = jax_structure.counterparts(content["structure"], entries)
    pairs = [(record, counterparts.get(index)) for index, record in enumerate(records)]
    arrays = iter(restored([(record, leaf) for record, leaf in pairs if _is_stored(record)]))
    values = [_value(record, leaf, next(arrays) if _is_stored(record) else None) for record, leaf in pairs]
    state: dict[str, Any] = jax_structure.rebuild(content["structure"], entries, values)
    return state


def load_model(directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
    """As `load`, with the entries of `template` alone, whose structure no submission changes: parameters and state.

    Raises:
      StateMismatchError: the checkpoint has other leaves or shapes.
      ValueError: the files are unreadable.
    """
    content = json.loads((directory / _LEAVES).read_text())
    records = content if isinstance(content, list) else content["leaves"]
    stored = [record for record in records if _is_stored(record)]
    as_arrays = {_name(index): ocp.RestoreArgs(restore_type=np.ndarray) for index in range(len(stored))}
    arrays = dict(
        zip((r["path"] for r in stored), _read_arrays(directory.absolute() / _ARRAYS, as_arrays), strict=True)
    )
    by_path = {record["path"]: record for record in records}
    leaves, structure = jax.tree_util.tree_flatten_with_path(dict(template))
    values = []
    for path, leaf in leaves:
        text = jax.tree_util.keystr(path)
        if text not in by_path:
            raise StateMismatchError(f"the checkpoint has no {text}; it is of another model")
        value = _value(by_path[text], leaf, arrays.get(text))
        if _shape_and_dtype(value)[0] != _shape_and_dtype(leaf)[0]:
            raise StateMismatchError(f"the checkpoint's {text} has another shape; it is of another model")
        values.append(jax.device_put(value, leaf.sharding) if isinstance(leaf, jax.Array) else value)
    model: dict[str, Any] = jax.tree_util.tree_unflatten(structure, values)
    return model


def _entries(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in _ENTRIES}


def _with_structure_of(template: Mapping[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of a file that has leaves only: their order is that of the template's leaves."""
    numbers = iter(range(len(records)))
    paths: list[str] = []

    def add_leaf(path: tuple[Any, ...], _: Any) -> int:
        paths.append(jax.tree_util.keystr(path))
        return next(numbers, -1)

    node = jax_structure.describe(_entries(template), add_leaf)
    _check_paths([record["path"] for record in records], paths)
    return {
        "structure": node,
        "leaves": records,
        "signature": [[record["path"], record.get("shape"), record.get("dtype")] for record in records],
    }


def _record(path: str, leaf: Any) -> dict[str, Any]:
    """How a leaf is stored, as JSON."""
    if isinstance(leaf, jax.Array):
        if _is_key(leaf):
            return {"kind": "device", "shape": leaf.shape, "dtype": _dtype_name(leaf), "impl": _impl_name(leaf)}
        return {"kind": "device", "shape": leaf.shape, "dtype": leaf.dtype.name, "weak": leaf.weak_type}
    if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind not in "OUSM":
        return {"kind": "host", "shape": leaf.shape, "dtype": leaf.dtype.name, "scalar": isinstance(leaf, np.generic)}
    if isinstance(leaf, (bool, int, str)):
        return {"kind": "value", "value": leaf}
    if isinstance(leaf, float):
        return {"kind": "float", "value": leaf.hex()}
    if callable(leaf):
        return {"kind": "function"}
    raise UnsavableStateError(
        f"{path} is a {type(leaf).__module__}.{type(leaf).__qualname__}, which a checkpoint cannot keep; "
        f"use arrays, numbers, strings, None, functions, or containers of them that are JAX pytrees"
    )


def _is_stored(record: dict[str, Any]) -> bool:
    """Whether Orbax keeps the leaf: arrays, but not empty ones, which it refuses."""
    return record["kind"] in ("device", "host") and 0 not in record["shape"]


def _name(index: int) -> str:
    return f"{index:06d}"


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _impl_name(key: jax.Array) -> str:
    return str(jax.random.key_impl(key))


def _raw(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and _is_key(leaf):
        leaf = jax.random.key_data(leaf)
    # Orbax takes no scalars of NumPy, and among several processes no arrays that only one of them has.
    is_local = isinstance(leaf, jax.Array) and jax.process_count() > 1 and leaf.is_fully_addressable
    return np.asarray(leaf) if is_local or isinstance(leaf, np.generic) else leaf


def _check_signature(saved: Signature, expected: Signature) -> None:
    _check_paths([path for path, *_ in saved], [path for path, *_ in expected])
    for (path, *before), (_, *now) in zip(saved, expected, strict=True):
        if None not in (*before, *now) and before != now:
            raise StateMismatchError(
                f"{path} has shape {tuple(before[0])} and dtype {before[1]} in the checkpoint, {tuple(now[0])} and "
                f"{now[1]} in this run; resume with the submission and workload that wrote it"
            )


def _check_paths(saved: list[str], expected: list[str]) -> None:
    if saved == expected:
        return
    missing, unexpected = sorted(set(expected) - set(saved)), sorted(set(saved) - set(expected))
    raise StateMismatchError(
        f"the checkpoint does not fit this run: it lacks {missing[:3] or 'nothing'} and has "
        f"{unexpected[:3] or 'nothing'} besides; resume with the submission and workload that wrote it"
    )


def _shape_and_dtype(leaf: Any) -> list[Any]:
    return [list(leaf.shape), _dtype_name(leaf)] if isinstance(leaf, (jax.Array, np.ndarray)) else [None, None]


def _restore_args(record: dict[str, Any], leaf: Any) -> ocp.RestoreArgs:
    if record["kind"] == "host":
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=_sharding(leaf, record))


def _sharding(leaf: Any, record: dict[str, Any]) -> jax.sharding.Sharding:
    """Placement of a template's array of the recorded shape; whole on every device for what no one has placed, so that
    it fits the rest."""
    is_placed = isinstance(leaf, jax.Array) and not _is_key(leaf) and leaf.committed
    is_placed = is_placed and list(leaf.shape) == record["shape"]
    return leaf.sharding if is_placed else jax_sharding_utils.get_replicate_sharding()


def _dtype_name(leaf: Any) -> str:
    return str(leaf.dtype) if isinstance(leaf, jax.Array) and _is_key(leaf) else leaf.dtype.name


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with _quiet():
        problem = _problem_in_writing(path, arrays)
        if problem is not None:
            gc.collect()  # asyncio reports what nobody awaited when it is collected: while it is quiet
    if problem is None:
        return
    code = _OS_ERROR_CODE.search(problem)
    if code is not None:
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path))
    raise OSError(f"Orbax cannot write {path}: {problem}")


def _problem_in_writing(path: Path, arrays: dict[str, Any]) -> str | None:
    try:
        _checkpointer().save(path, args=ocp.args.PyTreeSave(arrays))
    except Exception as error:  # Orbax and TensorStore raise many kinds, none of them an OSError
        return str(error)
    return None


def _read_arrays(path: Path, requested: dict[str, ocp.RestoreArgs]) -> list[Any]:
    """Arrays in the order of `wanted`."""
    if not requested:
        return []
    arguments = ocp.args.PyTreeRestore(item=dict.fromkeys(requested, 0), restore_args=requested)
    try:
        with _quiet():
            arrays = _checkpointer().restore(path, args=arguments)
    except Exception as error:  # as above
        raise ValueError(f"{path} cannot be read: {error}") from error
    return [arrays[name] for name in requested]


def _value(record: dict[str, Any], leaf: Any, array: Any) -> Any:
    """The restored leaf; `array` is None where Orbax keeps nothing."""
    match record["kind"]:
        case "function":
            if not callable(leaf):
                raise StateMismatchError(
                    f"the checkpoint has a function at {record['path']}, and init_optimizer_state returns none there; "
                    "functions are taken from its result"
                )
            return leaf
        case "float":
            return float.fromhex(record["value"])
        case "value":
            return record["value"]
    if array is None:
        array = np.empty(record["shape"], record["dtype"])
        return array if record["kind"] == "host" else jax.device_put(array, _sharding(leaf, record))
    if record["kind"] == "host":
        return array[()] if record["scalar"] else array
    if "impl" in record:
        return jax.random.wrap_key_data(array, impl=record["impl"])
    if record["weak"] and array.ndim == 0:  # a strong type would change what the next step promotes to
        return jax.device_put(jnp.asarray(array.item()), array.sharding)
    return array


@functools.cache
def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True))


def _unraisablehook(unraisable: "sys.UnraisableHookArgs") -> None:
    """Leaves out what TensorStore's threads say when a write that has failed already reports to a closed event loop."""
    if not (unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax's progress reports, advice and the traces of its threads off the screen; it raises what matters."""
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.FATAL)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisablehook  # stays, since such a report may come late
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        absl_logging.set_verbosity(verbosity)
