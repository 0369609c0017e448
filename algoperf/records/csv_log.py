"""A CSV file that only grows, survives a kill at any moment, and may gain columns on the way."""

import csv
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from algoperf.records.files import replace_file

Number = int | float

_logger = logging.getLogger(__name__)


class CsvLog:
    """Rows of numbers under a header. An absent value is an empty cell; NaN is written as `nan`.

    Floats have the digits that give the same value back. Rows are buffered until `flush`. A row with a new column makes
    the file be written once more, under another name that then replaces it.

    Args:
      path: the file. A last line that a killed process left half-written is removed.
      sort_columns: keep the header sorted; otherwise columns stand in the order in which they came.
      keep_rows: cut the file back to so many rows; rows beyond are moved to `<stem>.lost-<k>.csv` beside it.

    Every method raises OSError when the disk is full or not writable; the file then still ends with a whole row.
    """

    def __init__(self, path: Path, *, sort_columns: bool = False, keep_rows: int | None = None) -> None:
        self.path = path
        self._sort_columns = sort_columns
        self._columns: list[str] = []
        self._positions: dict[tuple[str, ...], list[int]] = {}
        self._pending: list[str] = []
        self._rows_written = 0
        self._bytes_written = 0
        if path.exists():
            self._repair(keep_rows)
        elif keep_rows:
            _logger.warning("%s is missing; %d recorded rows are lost", path, keep_rows)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @property
    def num_rows(self) -> int:
        return self._rows_written + len(self._pending)

    def append(self, row: Mapping[str, Number]) -> None:
        """Adds a row; it reaches the file with the next `flush`."""
        keys = tuple(row)
        positions = self._positions.get(keys)
        if positions is None:
            positions = self._learn(keys)
        cells = [""] * len(self._columns)
        for position, value in zip(positions, row.values(), strict=True):
            cells[position] = repr(value)
        self._pending.append(",".join(cells))

    def flush(self) -> None:
        """Hands buffered rows to the operating system: they survive a kill of the process."""
        if not self._pending:
            return
        header = [] if self._bytes_written else [_header(self._columns)]
        data = "".join(f"{line}\n" for line in header + self._pending).encode()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            error.filename = str(self.path)
            os.ftruncate(self._file, self._bytes_written)
            raise
        self._bytes_written += len(data)
        self._rows_written += len(self._pending)
        self._pending.clear()

    def sync(self) -> None:
        """Flushes, and waits until the rows are on the disk."""
        self.flush()
        os.fsync(self._file)

    def close(self) -> None:
        """Flushes and ends; does nothing the second time."""
        if self._file < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._file)
            self._file = -1

    def _learn(self, keys: tuple[str, ...]) -> list[int]:
        names = [" ".join(str(key).split()) for key in keys]
        new = [name for name in dict.fromkeys(names) if name not in self._columns]
        if new:
            columns = sorted(self._columns + new) if self._sort_columns else self._columns + new
            self.flush()
            if self._bytes_written:
                self._rewrite(columns)
            self._columns = columns
            self._positions.clear()
        self._positions[keys] = [self._columns.index(name) for name in names]
        return self._positions[keys]

    def _rewrite(self, columns: list[str]) -> None:
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        source = {name: position for position, name in enumerate(rows[0])}
        order = [source.get(name) for name in columns]
        lines = [_header(columns)]
        lines += [",".join("" if position is None else row[position] for position in order) for row in rows[1:]]
        data = "".join(f"{line}\n" for line in lines).encode()
        replace_file(self.path, data)
        os.close(self._file)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._bytes_written = len(data)

    def _repair(self, keep_rows: int | None) -> None:
        content = self.path.read_bytes()
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        if lines:
            self._columns = _fields(lines[0])
        while lines and (b"\0" in lines[-1] or len(_fields(lines[-1])) != len(self._columns)):
            lines.pop()
        if not lines:
            self._columns = []
        num_rows = max(len(lines) - 1, 0)
        if keep_rows is not None and num_rows < keep_rows:
            _logger.warning("%s has %d rows, %d were recorded; the rest is lost", self.path, num_rows, keep_rows)
        elif keep_rows is not None and num_rows > keep_rows:
            replace_file(_free_name(self.path), b"".join([lines[0], *lines[1 + keep_rows :]]))
            lines = lines[: 1 + keep_rows]
        intact_bytes = sum(len(line) for line in lines)
        if intact_bytes != len(content):
            os.truncate(self.path, intact_bytes)
        self._bytes_written = intact_bytes
        self._rows_written = max(len(lines) - 1, 0)


def _header(columns: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(columns)
    return text.getvalue()


def _fields(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8", "replace").rstrip("\r\n")]), [])


def _free_name(path: Path) -> Path:
    number = 1
    while (lost := path.with_name(f"{path.stem}.lost-{number}{path.suffix}")).exists():
        number += 1
    return lost
