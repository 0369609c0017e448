"""Files of records, as TFDS writes them: TFRecord and ArrayRecord, each checked against its own checksums."""

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from algoperf.data.store import StoreError

ARRAY_RECORD, TFRECORD = "array_record", "tfrecord"
_HEADER_BYTES, _FOOTER_BYTES = 12, 4


class RecordFile(Protocol):
    """Records by position. `read` raises StoreError, which names the file, where they are not as they were written."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> list[bytes]: ...


def open_records(path: Path, expected: int) -> RecordFile:
    """Opens a file of the format in its name.

    Raises:
      StoreError: the file is missing, damaged or cut off, or does not hold `expected` records.
    """
    try:
        file: RecordFile = _ArrayRecords(path) if f".{ARRAY_RECORD}" in path.name else _TFRecords(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}; fetch it again") from error
    if len(file) != expected:
        raise StoreError(f"{path} should have {expected} records, found {len(file)}; fetch it again")
    return file


class _ArrayRecords:
    def __init__(self, path: Path) -> None:
        from array_record.python.array_record_module import ArrayRecordReader

        if not path.is_file():
            raise StoreError(f"{path} is missing; fetch it again")
        self._path = path
        try:
            self._reader = ArrayRecordReader(str(path))
            self._num_records: int = self._reader.num_records()
        except RuntimeError as error:
            raise self._damaged(error) from error

    def __len__(self) -> int:
        return self._num_records

    def read(self, start: int, stop: int) -> list[bytes]:
        try:
            records: list[bytes] = self._reader.read(list(range(start, stop)))
        except (RuntimeError, IndexError) as error:
            raise self._damaged(error) from error
        return records

    def _damaged(self, error: Exception) -> StoreError:
        return StoreError(f"{self._path} is damaged ({str(error).split(';')[0]}); fetch it again")


class _TFRecords:
    """Each record: its length (uint64), the checksum of that (uint32), the bytes, their checksum (uint32)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            self._content: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._starts = [0]
        while self._starts[-1] < size:
            self._starts.append(self._end(self._starts[-1], size))

    def _end(self, start: int, size: int) -> int:
        header = self._content[start : start + _HEADER_BYTES]
        if len(header) == _HEADER_BYTES:
            self._check(header[:8], header[8:])
            end = start + _HEADER_BYTES + int(struct.unpack("<Q", header[:8])[0]) + _FOOTER_BYTES
            if end <= size:
                return end
        raise StoreError(f"{self._path} ends within record {len(self._starts) - 1}, it is cut off; fetch it again")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def read(self, start: int, stop: int) -> list[bytes]:
        records = []
        for first, end in zip(self._starts[start:stop], self._starts[start + 1 : stop + 1], strict=True):
            record = self._content[first + _HEADER_BYTES : end - _FOOTER_BYTES]
            self._check(record, self._content[end - _FOOTER_BYTES : end])
            records.append(record)
        return records

    def _check(self, content: bytes, checksum: bytes) -> None:
        if _masked_crc(content) != checksum:
            raise StoreError(f"{self._path} is damaged (a record does not match its checksum); fetch it again")


def _masked_crc(content: bytes) -> bytes:
    """CRC-32C, rotated and offset as in TensorFlow's `lib/hash/crc32c.h`."""
    import google_crc32c

    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Writes a file of the format in its name."""
    if f".{ARRAY_RECORD}" in path.name:
        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(str(path), "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        return
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked_crc(length) + record + _masked_crc(record))
