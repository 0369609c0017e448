"""Reads one table of evaluations: a fast path for sound files, a forgiving one for the rest.

Anybody may have written the file, so its size, its rows and its lines are bounded.
"""

import csv
import errno
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.records.files import read_regular
from scoring.log_issues import Severity

# The largest published table has 200 kB and 2,000 rows.
MAX_BYTES = 64 * 2**20
MAX_ROWS = 4_000_000
MAX_LINE = 2**20
_CHUNK = 4 * 2**20  # characters parsed at a time, which bounds memory
_LFS_MAGIC = b"version https://git-lfs"
_SNIFF_BYTES = 4096
_SHOWN_NAME = 40


class UnreadableTableError(ValueError):
    """The file holds no table of evaluations that can be scored. `code` names the reason in one word."""

    def __init__(self, code: str, message: str, severity: Severity = Severity.WARNING) -> None:
        super().__init__(message)
        self.code = code
        self.severity = severity


@dataclass(frozen=True, kw_only=True)
class EvalTable:
    """Columns of a CSV as float64 arrays of one length, and what had to be repaired to read them."""

    columns: dict[str, np.ndarray]
    repairs: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def read_eval_table(path: Path, requested: Collection[str], *, first_of: Sequence[str] = ()) -> EvalTable:
    """Reads the columns of `path` whose names are in `requested`, and of those in `first_of` the first that is there.

    Columns that are not there are absent from the result. Empty cells and cells that are no numbers become NaN; rows
    with a wrong number of cells are left out and counted.

    Raises:
      UnreadableTableError: the file is missing, empty, binary, a Git LFS pointer, a pipe, a device or a folder, or is
        larger than MAX_BYTES or MAX_ROWS.
      OSError: the system refuses to read it.
    """
    text = _text(path)
    repairs = []
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            text = text.replace("\r", "\n")
            repairs.append("lines end in bare carriage returns; read as line ends")
    first_line, _, body = text.partition("\n")
    header = [name.strip() for name in _cells(first_line)]
    names = {*requested, *[name for name in first_of if name in header][:1]}
    positions = {name: header.index(name) for name in header if name in names}
    if not positions:
        shown = ", ".join(name[:_SHOWN_NAME] for name in header[:6])
        raise UnreadableTableError("no_known_column", f"{path.name} has no known column; it starts: {shown}")
    if body.count("\n") > MAX_ROWS:
        raise UnreadableTableError("too_large", f"{path.name} has more than {MAX_ROWS:,} rows")
    columns, damage = _parse(body, positions, len(header))
    return EvalTable(columns=columns, repairs=(*repairs, *damage))


def _text(path: Path) -> str:
    try:
        data = read_regular(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableTableError("no_eval_csv", f"there is no {path.name}") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise UnreadableTableError("too_large", f"{path.name} is {error.strerror}") from error
        if error.errno in (errno.EINVAL, errno.ENXIO):
            raise UnreadableTableError("no_regular_file", f"{path.name} is not a regular file") from error
        raise
    if not data or data.isspace():
        raise UnreadableTableError("empty_eval_csv", f"{path.name} is empty")
    if data.startswith(_LFS_MAGIC):
        raise UnreadableTableError("lfs_pointer", f"{path.name} is a Git LFS pointer; run `git lfs pull`")
    if b"\x00" in data[:_SNIFF_BYTES]:
        raise UnreadableTableError("binary_eval_csv", f"{path.name} holds binary data, not a table")
    return data.decode("utf-8-sig", "replace")


def _cells(line: str) -> list[str]:
    """The cells of a line; quotes around them are taken off."""
    if '"' not in line or len(line) > MAX_LINE:
        return line.split(",")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return line.split(",")


def _parse(body: str, positions: Mapping[str, int], width: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns of the rows in `body`, and what had to be repaired."""
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in positions}
    ragged = unreadable = 0
    for chunk in _chunks(body):
        rows = chunk.split("\n")
        sound = _sound_columns(chunk, rows, positions, width)
        if sound is None:
            sound, more_ragged, more_unreadable = _damaged_columns(rows, positions, width)
            ragged += more_ragged
            unreadable += more_unreadable
        for name, values in sound.items():
            pieces[name].append(values)
    repairs = []
    if ragged:
        repairs.append(f"{ragged} row(s) with a wrong number of cells left out (a truncated file?)")
    if unreadable:
        repairs.append(f"{unreadable} cell(s) that are no numbers read as NaN")
    columns = {
        name: parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts]) for name, parts in pieces.items()
    }
    return columns, repairs


def _chunks(body: str) -> Iterator[str]:
    """Pieces of whole lines, without the last line end of each."""
    start = 0
    while start < len(body):
        end = len(body) if len(body) - start <= _CHUNK else body.find("\n", start + _CHUNK)
        end = len(body) if end < 0 else end
        yield body[start:end].removesuffix("\n")
        start = end + 1


def _sound_columns(
    chunk: str, rows: list[str], positions: Mapping[str, int], width: int
) -> dict[str, np.ndarray] | None:
    """Columns of rows that all have `width` cells, every requested one a number; None where they are not so.

    A whole column is one slice of all cells, so no step is taken for each cell in Python.
    """
    if {row.count(",") for row in rows} != {width - 1} or '"' in chunk or max(map(len, rows)) > MAX_LINE:
        return None
    cells = chunk.replace("\n", ",").split(",")
    try:
        return {name: np.fromiter(map(float, cells[i::width]), np.float64, len(rows)) for name, i in positions.items()}
    except ValueError:
        return None


def _damaged_columns(
    rows: list[str], positions: Mapping[str, int], width: int
) -> tuple[dict[str, np.ndarray], int, int]:
    """Columns of the rows with `width` cells, how many rows have others, and how many cells are no numbers."""
    cells: dict[str, list[float]] = {name: [] for name in positions}
    ragged = unreadable = 0
    for line in rows:
        if not line.strip():
            continue
        row = _cells(line.replace("\x00", ""))
        if len(row) != width or len(line) > MAX_LINE:
            ragged += 1
            continue
        for name, i in positions.items():
            value = _number(row[i])
            unreadable += value is None
            cells[name].append(np.nan if value is None else value)
    return {name: np.array(values) for name, values in cells.items()}, ragged, unreadable


def _number(cell: str) -> float | None:
    """NaN for an empty cell, None for text."""
    if not cell.strip():
        return np.nan
    try:
        return float(cell)
    except ValueError:
        return None
