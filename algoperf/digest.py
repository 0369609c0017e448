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


def digest(definition: Any) -> str:
    """Hash of a dataclass, nested ones included, without the fields that are `NOT_IN_DIGEST`."""
    text = json.dumps(_plain(definition), sort_keys=True)
    return f"{SCHEME}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def digest_scheme(recorded: str) -> str:
    """Returns the scheme of a digest: those of different schemes say nothing about each other."""
    scheme, separator, _ = recorded.partition(":")
    return scheme if separator else "1"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.metadata.get("in_digest", True)]
        return {f.name: _plain(getattr(value, f.name)) for f in fields}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    return value
