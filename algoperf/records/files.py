"""Files that are replaced as a whole, and what is said when the disk refuses."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from algoperf.errors import UserError


class RecorderError(UserError):
    """Results cannot be written; one line that names the file and the reason."""


class RecordError(UserError):
    """A file of a trial cannot be read; one line that names the file and what was expected."""


def replace_file(path: Path, data: bytes) -> None:
    """Writes a whole file: afterwards `path` holds either what it held before or all of `data`.

    Raises:
      OSError: the disk is full or not writable.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into a RecorderError; `path` is named where the error names no file."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RecorderError:
    return RecorderError(f"cannot write {error.filename or path}: {error.strerror or error}")
