"""Digests of workload definitions, by which logs tell whether they were made with the same task.

A digest is `<scheme>:<16 hex digits>`. The scheme says which fields count; digests of two schemes cannot be compared.
Scheme 1, of the first logs, has no prefix; it also counted what only tests read.
"""

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SCHEME = 2
# Metadata of a dataclass field that does not define the task.
NOT_IN_DIGEST: Mapping[str, bool] = MappingProxyType({"in_digest": False})
# Metadata of a field of a workload's data settings that prepared data do not depend on.
NOT_IN_STORE: Mapping[str, bool] = MappingProxyType({"in_store": False})


def digest(definition: Any) -> str:
    """Hash of a dataclass, nested ones included, without the fields that are `NOT_IN_DIGEST`."""
    return _hash(_plain(definition, ("in_digest",)))


def store_digest(*settings: Any) -> str:
    """Hash of settings, without the fields that are `NOT_IN_DIGEST` or `NOT_IN_STORE`."""
    return _hash(_plain(settings, ("in_digest", "in_store")))


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return f"{SCHEME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def digest_scheme(recorded: str) -> str:
    """Returns the scheme of a digest: those of different schemes say nothing about each other."""
    scheme, separator, _ = recorded.partition(":")
    return scheme if separator else "1"


def _plain(value: Any, marks: tuple[str, ...]) -> Any:
    """`value` as JSON has it, without fields whose metadata have one of `marks` as False."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if all(f.metadata.get(mark, True) for mark in marks)]
        return {f.name: _plain(getattr(value, f.name), marks) for f in fields}
    if isinstance(value, Mapping):
        return {str(k): _plain(v, marks) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, marks) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    return value
