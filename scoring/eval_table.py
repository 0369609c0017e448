"""Reads one table of evaluations: the fast path for sound files, a forgiving one for the rest."""

import csv
import io
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_LFS_MAGIC = b"version https://git-lfs"
_SNIFF_BYTES = 4096


class UnreadableTableError(ValueError):
    """The file holds no table of evaluations. `code` names the reason in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class EvalTable:
    """Columns of a CSV as float64 arrays of one length, and what had to be repaired to read them."""

    columns: dict[str, np.ndarray]
    repairs: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def read_eval_table(path: Path, requested: Collection[str]) -> EvalTable:
    """Reads the columns of `path` whose names are in `requested`; others of them are absent from the result.

    Empty cells and cells that are no numbers become NaN; rows with a wrong number of cells are left out and counted.
    Raises UnreadableTableError for a missing, empty, binary or pointer file, and OSError where the system refuses.
    """
    if not path.is_file():
        raise UnreadableTableError("no_eval_csv", f"there is no {path.name}")
    with path.open("rb") as stream:
        head = stream.read(_SNIFF_BYTES)
    if not head.strip():
        raise UnreadableTableError("empty_eval_csv", f"{path.name} is empty")
    if head.startswith(_LFS_MAGIC):
        raise UnreadableTableError("lfs_pointer", f"{path.name} is a Git LFS pointer; run `git lfs pull`")
    if b"\x00" in head:
        raise UnreadableTableError("binary_eval_csv", f"{path.name} holds binary data, not a table")
    first_line = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    header = [name.strip() for name in next(csv.reader([first_line.rstrip("\r")]), [])]
    positions = {name: header.index(name) for name in header if name in requested}
    if not positions:
        shown = ", ".join(header[:6])
        raise UnreadableTableError("no_known_column", f"{path.name} has no known column; it starts: {shown}")
    return _read_sound(path, positions, len(header)) or _read_damaged(path, positions, len(header))


def _read_sound(path: Path, positions: dict[str, int], width: int) -> EvalTable | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header without rows is no fault here
            values = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, comments=None, encoding="utf-8")
    except (ValueError, UnicodeDecodeError):
        return None
    if values.size == 0:
        return EvalTable(columns={name: np.empty(0) for name in positions})
    if values.shape[1] != width:
        return None
    return EvalTable(columns={name: np.ascontiguousarray(values[:, i]) for name, i in positions.items()})


def _read_damaged(path: Path, positions: dict[str, int], width: int) -> EvalTable:
    text = path.read_bytes().decode("utf-8-sig", "replace").replace("\x00", "")
    cells: dict[str, list[float]] = {name: [] for name in positions}
    ragged = unreadable = 0
    reader = csv.reader(io.StringIO(text, newline=""))
    next(reader, None)
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != width:
                ragged += 1
                continue
            for name, i in positions.items():
                value = _number(row[i])
                unreadable += value is None
                cells[name].append(np.nan if value is None else value)
    except csv.Error:
        ragged += 1
    repairs = []
    if ragged:
        repairs.append(f"{ragged} row(s) with a wrong number of cells left out (a truncated file?)")
    if unreadable:
        repairs.append(f"{unreadable} cell(s) that are no numbers read as NaN")
    return EvalTable(columns={name: np.array(values) for name, values in cells.items()}, repairs=tuple(repairs))


def _number(cell: str) -> float | None:
    """NaN for an empty cell, None for text."""
    if not cell.strip():
        return np.nan
    try:
        return float(cell)
    except ValueError:
        return None
