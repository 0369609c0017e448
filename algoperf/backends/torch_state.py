"""A PyTorch submission's optimizer state as plain data and back.

Plain data are nested tuples `(kind, payload)` of tensors, numbers, strings and bytes, which `torch.load` reads with
`weights_only=True`.
"""

import functools
import io
import pickle
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from algoperf.backends.base import StateMismatchError, UnsavableStateError

_PLAIN = (type(None), bool, int, float, str, bytes)
TensorKinds = dict[str, tuple[list[int], str]]  # path -> (shape, dtype)
Node = tuple[Any, ...]  # (kind, payload): plain data that `decode` restores
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, type)


def encode(value: Any, path: str, *, inside_state_dict: bool = False) -> Node:
    """Turns `value` into plain data. Objects with `state_dict` and `load_state_dict` give their state; functions and
    classes are only marked.

    Raises:
      UnsavableStateError: names the entry that is something else.
    """
    below = functools.partial(encode, inside_state_dict=inside_state_dict)
    match value:
        case torch.Tensor():
            return ("tensor", _compact(value.detach()))
        case _ if type(value) in _PLAIN:
            return ("plain", value)
        case np.ndarray() | np.generic() if value.dtype.kind not in "OV":
            return ("scalar" if isinstance(value, np.generic) else "array", _npy_bytes(value))
        case _ if hasattr(value, "state_dict") and hasattr(value, "load_state_dict") and not isinstance(value, type):
            return ("state_dict", encode(value.state_dict(), f"{path}.state_dict()", inside_state_dict=True))
        case Mapping():
            return ("dict", [(_key(key, path), below(item, f"{path}[{key!r}]")) for key, item in value.items()])
        case list() | tuple() | deque():
            items = [below(item, f"{path}[{index}]") for index, item in enumerate(value)]
            if isinstance(value, deque):
                return ("deque", (value.maxlen, items))
            return ("list" if isinstance(value, list) else "tuple", items)
        case _ if isinstance(value, _FUNCTIONS):
            return ("function", None)
    if inside_state_dict:
        return ("pickle", _pickled(value, path))
    raise _unsavable(value, path)


def tensor_kinds(value: Any, path: str) -> TensorKinds:
    """Shape and dtype of each tensor in nested containers, by its path; objects with a state of their own are left out.

    Of a fresh state they say which submission and workload it is of; training may change them.
    """
    match value:
        case torch.Tensor():
            return {path: (list(value.shape), str(value.dtype))}
        case Mapping():
            items = [(f"{path}[{key!r}]", item) for key, item in value.items()]
        case list() | tuple() | deque():
            items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        case _:
            return {}
    return {name: kind for below, item in items for name, kind in tensor_kinds(item, below).items()}


def check_tensor_kinds(saved: TensorKinds, template: Any, path: str) -> None:
    """Compares the tensors of two fresh states, where both have them.

    Raises:
      StateMismatchError: names the first that differs.
    """
    for name, now in tensor_kinds(template, path).items():
        if tuple(saved.get(name, now)) != now:
            raise _other_tensor(name, saved[name], now)


def decode(node: Node, template: Any, path: str, *, keeps_shapes: bool = True) -> Any:
    """Restores plain data into `template`, in place where it can hold it: tensors, dicts, lists, objects with
    `load_state_dict`.

    Args:
      keeps_shapes: whether a tensor of another shape or dtype than the template's is an error; else it takes its place.

    Raises:
      StateMismatchError: an object or function is missing in `template`, or something has another shape or dtype.
    """
    below = functools.partial(decode, keeps_shapes=keeps_shapes)
    kind, payload = node
    match kind:
        case "tensor":
            return _restored_tensor(payload, template, path, keeps_shapes)
        case "plain":
            return payload
        case "array":
            return _from_npy(payload)
        case "scalar":
            return _from_npy(payload)[()]
        case "pickle":
            return pickle.loads(payload)
        case "function":
            if not isinstance(template, _FUNCTIONS):
                raise _missing(template, "a function", path)
            return template
        case "state_dict":
            return _restored_object(payload, template, path)
        case "dict":
            return _restored_dict(payload, template, path, below)
        case _:
            return _restored_sequence(kind, payload, template, path, below)


def digest(node: Any, hasher: Any) -> None:
    """Feeds plain data, tensors included, into a `hashlib` object."""
    if isinstance(node, torch.Tensor):
        hasher.update(str((node.dtype, node.shape)).encode())
        dense = node if node.layout is torch.strided else node.to_dense()
        hasher.update(dense.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(node, (list, tuple)):
        hasher.update(f"{len(node)}:".encode())
        for item in node:
            digest(item, hasher)
    else:
        hasher.update(repr(node).encode())


def _restored_tensor(saved: torch.Tensor, template: Any, path: str, keeps_shapes: bool) -> torch.Tensor:
    if not isinstance(template, torch.Tensor):
        return saved
    before, now = ((tensor.shape, tensor.dtype) for tensor in (saved, template))
    if before != now and keeps_shapes:
        raise _other_tensor(path, before, now)
    if before != now:
        return saved
    with torch.no_grad():
        return template.copy_(saved)


def _restored_object(payload: tuple[Any, ...], template: Any, path: str) -> Any:
    if not hasattr(template, "load_state_dict"):
        raise _missing(template, "an object with load_state_dict", path)
    try:
        template.load_state_dict(decode(payload, None, path))
    except (ValueError, KeyError, RuntimeError) as error:
        raise StateMismatchError(f"the checkpoint's {path} does not fit this run: {error}") from error
    return template


def _restored_dict(items: list[tuple[Any, Node]], template: Any, path: str, below: Callable[..., Any]) -> Any:
    known = template if isinstance(template, dict) else {}
    restored = {key: below(node, known.get(key), f"{path}[{key!r}]") for key, node in items}
    if not isinstance(template, dict):
        return restored
    template.clear()
    template.update(restored)
    return template


def _restored_sequence(kind: str, payload: Any, template: Any, path: str, below: Callable[..., Any]) -> Any:
    maxlen, nodes = payload if kind == "deque" else (None, payload)
    known = list(template) if isinstance(template, (list, tuple, deque)) else []
    known += [None] * (len(nodes) - len(known))
    restored = [below(node, known[index], f"{path}[{index}]") for index, node in enumerate(nodes)]
    if kind == "deque":
        return deque(restored, maxlen)
    if kind == "tuple":
        return type(template)(*restored) if hasattr(template, "_fields") else tuple(restored)
    if isinstance(template, list):
        template[:] = restored
        return template
    return restored


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """A copy where `tensor` is a view of something larger, which would be saved whole."""
    if tensor.layout is torch.strided and tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
        return tensor.clone()
    return tensor


def _key(key: Any, path: str) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    if not all(type(part) in _PLAIN for part in parts):
        raise UnsavableStateError(
            f"{path} has a key of type {type(key).__qualname__}, which a checkpoint cannot keep; use strings or numbers"
        )
    return key


def _npy_bytes(array: np.ndarray | np.generic) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _from_npy(data: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _pickled(value: Any, path: str) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:  # whatever the object's own pickling raises
        raise _unsavable(value, path) from error


def _unsavable(value: Any, path: str) -> UnsavableStateError:
    return UnsavableStateError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which a checkpoint cannot keep; give it "
        f"state_dict() and load_state_dict(), or use tensors, arrays, numbers, strings, None and containers of them"
    )


def _other_tensor(path: str, before: Sequence[Any], now: Sequence[Any]) -> StateMismatchError:
    return StateMismatchError(
        f"{path} has shape {tuple(before[0])} and dtype {before[1]} in the checkpoint, {tuple(now[0])} and {now[1]} in "
        "this run; resume with the submission and workload that wrote it"
    )


def _missing(template: Any, saved_kind: str, path: str) -> StateMismatchError:
    return StateMismatchError(
        f"the checkpoint keeps the state of {saved_kind} at {path}, but this run has a {type(template).__qualname__} "
        f"there; init_optimizer_state must create everything that has a state"
    )
