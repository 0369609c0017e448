"""JSON files of a run: one conversion of values and one way to write. The text is strict JSON."""

import dataclasses
import enum
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algoperf.records.files import RecordError, explained, read_regular, replace_file

# Far above what runs write (kilobytes, a few levels), far below what hurts a reader.
MAX_BYTES = 4 * 2**20
MAX_DEPTH = 100
MAX_DIGITS = 300


def plain(value: Any, *, unknown: Callable[[Any], Any] | None = None) -> Any:
    """Returns `value` in types that strict JSON has.

    NaN and infinities become null. Enum members become their value if that is text and their name otherwise; arrays
    and their scalars, of any framework, lists and numbers; dataclasses and named tuples objects; sets sorted lists;
    paths text. Text that is not valid Unicode gets backslash escapes. Keys must be text, enum members or integers.

    Args:
      value: what to convert; not changed.
      unknown: converts objects of other types, `str` for example; None refuses them.

    Raises:
      TypeError: a value or a key has no JSON form.
    """
    match value:
        case enum.Enum():
            return value.value if isinstance(value.value, str) else value.name
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Path():
            return plain(str(value))
        case Mapping():
            return {_key(key): plain(entry, unknown=unknown) for key, entry in value.items()}
        case list() | tuple() if not hasattr(value, "_asdict"):
            return [plain(entry, unknown=unknown) for entry in value]
        case set() | frozenset():
            return [plain(entry, unknown=unknown) for entry in sorted(value)]
    if isinstance(value, type):
        return _refused(value, unknown)
    if hasattr(value, "_asdict"):
        return plain(value._asdict(), unknown=unknown)
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name), unknown=unknown) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist(), unknown=unknown)
    return _refused(value, unknown)


def dumps(content: Any, *, indent: int = 2) -> str:
    """Returns `content` as strict JSON, converted by `plain`, with keys in their order and a line end.

    Raises:
      TypeError: something in `content` has no JSON form.
    """
    return json.dumps(plain(content), indent=indent, allow_nan=False) + "\n"


def write(path: Path, content: Any) -> None:
    """Writes `dumps(content)`: `path` holds either the old content or all of the new.

    Raises:
      RecorderError: the disk is full or not writable.
      TypeError: something in `content` has no JSON form.
    """
    data = dumps(content).encode()
    with explained(path):
        replace_file(path, data)


def read(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file, as `read_object`.

    Raises:
      RecordError: the file is missing, unreadable or holds something else.
    """
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: expected a JSON object, got {error}; restore or delete the file") from error


def read_object(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file that anybody may have written.

    Raises:
      OSError: the file is missing, unreadable, not a regular file or larger than MAX_BYTES.
      ValueError: it holds something else than one object, is nested deeper than MAX_DEPTH, or has an integer of more
        than MAX_DIGITS digits, which no float can hold.
    """
    data = read_regular(path, MAX_BYTES)
    try:
        value = json.loads(data.decode(), parse_int=_bounded_int)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueError(_too_deep())
    if not isinstance(value, dict):
        raise ValueError(type(value).__name__)
    return value


def read_if_intact(path: Path | None) -> dict[str, Any] | None:
    """What `read` returns; None where it would raise, and for no path."""
    try:
        return None if path is None else read(path)
    except RecordError:
        return None


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _too_deep() -> str:
    return f"values nested more than {MAX_DEPTH} deep"


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested more than `depth` deep; without recursion, level by level."""
    level = [value]
    for _ in range(depth + 1):
        containers = [part for part in level if isinstance(part, dict | list)]
        if not containers:
            return False
        level = [part for outer in containers for part in (outer.values() if isinstance(outer, dict) else outer)]
    return True


def _refused(value: Any, unknown: Callable[[Any], Any] | None) -> Any:
    if unknown is None:
        raise TypeError(f"cannot write {type(value).__name__} as JSON")
    return plain(unknown(value))


def _key(key: Any) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int | enum.Enum):
        raise TypeError(f"a key in JSON is text, an enum member or an integer, got {type(key).__name__} {key!r}")
    return str(plain(key))
