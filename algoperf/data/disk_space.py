"""Whether what is still to be written fits, in units that a person can read."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from algoperf.errors import UserError

_UNITS = ("kB", "MB", "GB", "TB", "PB")


class DiskSpaceError(UserError):
    """Too little free disk space; the message says how much is needed, how much there is, and which flag to change."""


def format_bytes(count: float) -> str:
    """Three significant digits and a decimal unit: 999 bytes, 1.50 GB, 146 GB."""
    if count < 1000:
        return f"{count:.0f} bytes"
    power = 0
    while power < len(_UNITS) and float(f"{count:.3g}") >= 1000:
        count, power = count / 1000, power + 1
    return f"{count:#.3g}".rstrip(".") + f" {_UNITS[power - 1]}"


def written_bytes(paths: Iterable[Path]) -> int:
    """Bytes of all files at and below `paths`; those that are missing count nothing."""
    return sum(_bytes_at(path) for path in paths)


def free_bytes(folder: Path) -> int:
    """Free disk space where `folder` is, or would be made."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def require_free_bytes(folder: Path, needed: int, *, task: str, remedy: str) -> None:
    """Compares the free space where `folder` is, or would be made, with `needed` bytes.

    Args:
      task: what needs the space, for the message.
      remedy: what to do, for the message.

    Raises:
      DiskSpaceError: there is less.
    """
    free = free_bytes(folder)
    if free < needed:
        raise DiskSpaceError(
            f"{task} needs {format_bytes(needed)} more, {folder} has {format_bytes(free)} free; {remedy}"
        )


def _bytes_at(path: Path) -> int:
    if path.is_symlink():
        return 0
    if path.is_dir():
        return sum(_bytes_at(entry) for entry in path.iterdir())
    return path.stat().st_size if path.is_file() else 0
