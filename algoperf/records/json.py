"""JSON files of a run: one conversion of values and one way to write. The text is strict JSON."""

import dataclasses
import enum
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algoperf.records.files import RecordError, explained, replace_file


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
    """Returns the object in a JSON file.

    Raises:
      RecordError: the file is missing, unreadable or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: expected a JSON object, got {error}; restore or delete the file") from error
    if not isinstance(value, dict):
        raise RecordError(f"{path}: expected a JSON object, got {type(value).__name__}; restore or delete the file")
    return value


def read_if_intact(path: Path | None) -> dict[str, Any] | None:
    """What `read` returns; None where it would raise, and for no path."""
    try:
        return None if path is None else read(path)
    except RecordError:
        return None


def _refused(value: Any, unknown: Callable[[Any], Any] | None) -> Any:
    if unknown is None:
        raise TypeError(f"cannot write {type(value).__name__} as JSON")
    return plain(unknown(value))


def _key(key: Any) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int | enum.Enum):
        raise TypeError(f"a key in JSON is text, an enum member or an integer, got {type(key).__name__} {key!r}")
    return str(plain(key))
