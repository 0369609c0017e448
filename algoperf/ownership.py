"""Removal of what this project wrote, and of nothing else: the product removes folders nowhere else.

A folder is removed only if every file in it is one that the project writes there. What says so are the names of files,
or the list of files that was kept when the folder was generated. One foreign file, and nothing is removed.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from algoperf.errors import UserError

GENERATED = "generated.json"  # in every generated folder: what it was made from, and its files
_SHOWN = 3

IsOurs = Callable[[str], object]  # takes a path relative to a folder; true where the project wrote that file


class ForeignFilesError(UserError):
    """A folder holds files that this project did not write; the message names some, and nothing was removed."""


def check_removable(folder: Path, is_ours: IsOurs) -> None:
    """Returns if `folder` is absent or `is_ours` holds for each file in it, by its path relative to `folder`.

    Links count as files; they are not followed.

    Raises:
      ForeignFilesError: another file is there.
    """
    _refuse(folder, [name for name in _files(folder) if not is_ours(name)])


def remove_folder(folder: Path, is_ours: IsOurs) -> None:
    """Removes a folder whose files are all ours; does nothing where there is no folder.

    Files next to the root go first, so that an interrupted removal leaves no folder that looks complete.

    Raises:
      ForeignFilesError: as `check_removable`; nothing was removed.
      OSError: the file system refuses.
    """
    check_removable(folder, is_ours)
    _remove(folder, _files(folder))


def generate_once(folder: Path, identity: str, generate: Callable[[], Any]) -> None:
    """Calls `generate`, which fills `folder`, unless it did so before with the same `identity`.

    The folder is empty when `generate` starts: what an earlier call generated there is removed.

    Args:
      identity: everything that the generated files depend on.

    Raises:
      ForeignFilesError: the folder holds files that were not generated; nothing was removed.
    """
    marker = folder / GENERATED
    before, present = _read_marker(marker), _files(folder)
    if before is None:
        _refuse(folder, present)
    elif before["files"] is not None:  # None: interrupted, in a folder that was empty before
        if before["identity"] == identity and {*before["files"]} <= {*present}:
            return
        _refuse(folder, sorted({*present} - {GENERATED, *before["files"]}))
    _remove(folder, present)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({"identity": identity, "files": None}))
    generate()
    files = [name for name in _files(folder) if name != GENERATED]
    marker.write_text(json.dumps({"identity": identity, "files": files}, indent=1))


def _read_marker(marker: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(marker.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"identity", "files"} <= content.keys() else None


def _files(folder: Path) -> list[str]:
    """Paths of all files and links below `folder`, those next to the root first."""
    names = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        names += [os.path.relpath(os.path.join(parent, name), folder) for name in sorted([*files, *links])]
    return names


def _refuse(folder: Path, foreign: list[str]) -> None:
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise ForeignFilesError(
            f"{folder} holds files that were not written by this program: {', '.join(foreign[:_SHOWN])}{more}; "
            "move them elsewhere and try again (nothing was removed)"
        )


def _remove(folder: Path, files: Iterable[str]) -> None:
    for name in files:
        (folder / name).unlink(missing_ok=True)
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # something new in it, or a link to a folder, which stays
            os.rmdir(parent)
