"""Files that are replaced as a whole, and what is said when the disk refuses."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from algoperf.errors import UserError


class RecorderError(UserError):
    """Results cannot be written; one line that names the file and the reason."""


class RecordError(UserError):
    """A file of a trial cannot be read; one line that names the file and what was expected."""


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Returns the content of a regular file. A pipe or a device is refused at once, so that nobody waits for it.

    Raises:
      OSError: the file is missing or unreadable, not a regular file (EINVAL), or larger than `max_bytes` (EFBIG).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        pieces, room = [], max_bytes + 1 if status.st_size <= max_bytes else 0
        while room and (piece := os.read(descriptor, min(room, status.st_size + 1))):
            pieces.append(piece)
            room -= len(piece)
        if not room:
            raise OSError(errno.EFBIG, f"larger than {max_bytes:,} bytes", str(path))
        return b"".join(pieces)
    finally:
        os.close(descriptor)


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
    return RecorderError(f"cannot write {error.filename or path}: {reason(error)}")


def reason(error: OSError) -> str:
    """What the file system said and, where a flag of the runner helps, which."""
    text = str(error.strerror or error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}; free some and use --resume_last_run, or choose another --experiment_dir"
    return f"{text}; choose a shorter --experiment_name" if error.errno == errno.ENAMETOOLONG else text
