"""The structure of a JAX pytree as JSON, and a tree of that structure again.

A leaf is the number of its value, None is null, and a container is an object with the import path of its type, its keys
and its children. What JSON cannot hold, functions and static parts of registered types above all, comes from a template
of the same type at the same place.
"""

import collections
import dataclasses
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from algoperf.backends.base import StateMismatchError

Node = Any  # int, None, or a dict of `type`, `children` and what the type needs
_PLAIN = (type(None), bool, int, float, str)
_ABSENT = object()


def describe(tree: Any, add_leaf: Callable[[tuple[Any, ...], Any], int], path: tuple[Any, ...] = ()) -> Node:
    """Returns the structure of `tree`; `add_leaf` is given the path of each leaf and the leaf, and returns its number.

    Raises what JAX raises for trees that it cannot take apart (keys that have no order).
    """
    if tree is None:
        return None
    pairs = _children(tree)
    if pairs is None:
        return add_leaf(path, tree)
    node: dict[str, Any] = {
        "type": _type_name(type(tree)),
        "children": [describe(child, add_leaf, (*path, key)) for key, child in pairs],
    }
    if isinstance(tree, dict):
        node["keys"] = [_encoded(key.key) for key, _ in pairs]
        if isinstance(tree, collections.defaultdict) and isinstance(tree.default_factory, type):
            node["factory"] = _type_name(tree.default_factory)
    elif dataclasses.is_dataclass(tree):
        node["fields"] = [getattr(key, "name", None) for key, _ in pairs]
        static = [field.name for field in dataclasses.fields(tree) if field.name not in node["fields"]]
        node["static"] = {name: _encoded(getattr(tree, name)) for name in static if hasattr(tree, name)}
    return node


def counterparts(node: Node, template: Any) -> dict[int, Any]:
    """The template's value at the place of each leaf, by number; places that the template lacks are left out."""
    leaves: dict[int, Any] = {}
    _pair(node, template, leaves)
    return leaves


def rebuild(node: Node, template: Any, values: Sequence[Any], path: str = "") -> Any:
    """The tree of structure `node` with `values` as its leaves.

    Raises:
      StateMismatchError: a type cannot be imported, or needs a static part that the template does not have.
    """
    if node is None:
        return None
    if isinstance(node, int):
        return values[node]
    of_template = _template_children(node, template)
    name = node["type"]
    children = [
        rebuild(child, of_template.get(index), values, f"{path}/{index}")
        for index, child in enumerate(node["children"])
    ]
    cls = _class(name, template, path)
    if issubclass(cls, dict):
        return _dict(cls, node, template, children, path)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return cls(*children)
    if issubclass(cls, (list, tuple)):
        return cls(children)
    if dataclasses.is_dataclass(cls) and None not in node["fields"]:
        return _dataclass(cls, node, template, children, path)
    if isinstance(template, cls) and len(_children(template) or ()) == len(children):
        return _structure(template).unflatten(children)
    raise _needs_template(name, path)


def _children(tree: Any) -> list[tuple[Any, Any]] | None:
    """(key, child) of a container, in order; None for a leaf."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    return [(path[0], child) for path, child in pairs]


def _structure(tree: Any) -> Any:
    return jax.tree.structure(tree, is_leaf=lambda node: node is not tree)


def _template_children(node: dict[str, Any], template: Any) -> dict[int, Any]:
    """The template's children at the places of the node's children, by position in the node."""
    if template is None:
        return {}
    pairs = _children(template)
    if pairs is None:
        return {}
    if "keys" in node:
        known = {repr(getattr(key, "key", _ABSENT)): child for key, child in pairs}
        keys = [None if key is None else repr(_decoded(key)) for key in node["keys"]]
        return {index: known[key] for index, key in enumerate(keys) if key in known}
    return {index: child for index, (_, child) in enumerate(pairs) if index < len(node["children"])}


def _pair(node: Node, template: Any, leaves: dict[int, Any]) -> None:
    if isinstance(node, int):
        leaves[node] = template
    elif node is not None:
        of_template = _template_children(node, template)
        for index, child in enumerate(node["children"]):
            if index in of_template:
                _pair(child, of_template[index], leaves)


def _dict(cls: type[Any], node: dict[str, Any], template: Any, children: list[Any], path: str) -> Any:
    if None in node["keys"]:  # keys that JSON cannot hold
        if not isinstance(template, cls) or len(template) != len(children):
            raise _needs_template(node["type"], path)
        return _structure(template).unflatten(children)
    items = zip(map(_decoded, node["keys"]), children, strict=True)
    if issubclass(cls, collections.defaultdict):
        factory = template.default_factory if isinstance(template, cls) else None
        return cls(_class(node["factory"], None, path) if "factory" in node else factory, items)
    return cls(items)


def _dataclass(cls: Any, node: dict[str, Any], template: Any, children: list[Any], path: str) -> Any:
    values = dict(zip(node["fields"], children, strict=True))
    for name, encoded in node["static"].items():
        if encoded is None and not isinstance(template, cls):
            raise _needs_template(node["type"], path)
        values[name] = getattr(template, name) if encoded is None else _decoded(encoded)
    instance = object.__new__(cls)  # as JAX does it: __init__ and its checks have run once
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    return instance


def _encoded(value: Any) -> Any:
    """A number, text, None or a tuple of them as JSON; null for anything else."""
    if type(value) is tuple:
        items = [_encoded(item) for item in value]
        return None if None in items else {"tuple": items}
    return {"value": value} if type(value) in _PLAIN else None


def _decoded(encoded: dict[str, Any]) -> Any:
    return tuple(map(_decoded, encoded["tuple"])) if "tuple" in encoded else encoded["value"]


def _type_name(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _class(name: str, template: Any, path: str) -> Any:
    if _type_name(type(template)) == name:
        return type(template)
    module, _, qualified = name.partition(":")
    try:
        value: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in qualified.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise StateMismatchError(
            f"the checkpoint has a {name} in the optimizer state at {path}, which cannot be imported ({error}); resume "
            "with the submission that wrote it"
        ) from error
    return value


def _needs_template(name: str, path: str) -> StateMismatchError:
    return StateMismatchError(
        f"the checkpoint has a {name} in the optimizer state at {path}, with parts that no file can hold, and "
        "init_optimizer_state returns none there; let it return one, or use dicts, lists, tuples and dataclasses of "
        "arrays and numbers"
    )
