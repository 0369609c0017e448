"""A prepared dataset on disk: named arrays, memory-mapped, checksummed, complete or absent.

A store is a folder of NumPy files (`.npy`, little-endian) and a `store.json` with shapes, dtypes, checksums (CRC-32)
and free-form metadata. It is written under a temporary name and renamed when complete, so that a reader never meets
half a store. Stores of format version 1, whose files (`.bin`) are the same rows without a header, are read as well.
"""

import hashlib
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import numpy as np

from algoperf.errors import DataError
from algoperf.ownership import check_removable, remove_folder

MANIFEST = "store.json"
METADATA_FILE = "croissant.json"  # for other programs; see `algoperf.croissant`
FORMAT_VERSION = 2
_SETTINGS = "settings"
_SUFFIXES = {1: ".bin", 2: ".npy"}  # by format version
_VERIFY_CHUNK_BYTES = 1 << 24
_is_store_file = re.compile(rf"(.+/)?([^/]+\.(npy|bin)|{re.escape(MANIFEST)})|{re.escape(METADATA_FILE)}").fullmatch


class StoreError(DataError):
    """A prepared store is missing, incomplete or damaged."""


class StoreWriter:
    """Writes a store; use as a context manager. An exception inside leaves no store behind.

    Args:
      path: folder of the finished store; an existing one is replaced on success.
      meta: JSON-serialisable facts about the data (format, source, generator seed, vocabulary ...).

    Raises (on entry):
      ForeignFilesError: the folder, or that of an interrupted writer, holds files that are not a store's.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._meta = dict(meta)
        self._appenders: dict[str, ArrayAppender] = {}
        self._adopted: list[Path] = []

    def __enter__(self) -> Self:
        check_replaceable(self._path)
        remove_folder(self._partial, _is_store_file)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entries = {name: appender.close() for name, appender in self._appenders.items()}
        if kind is not None:
            for origin in self._adopted:
                (self._partial / origin.name).rename(origin)
            remove_folder(self._partial, _is_store_file)
            return
        manifest = {"format_version": FORMAT_VERSION, "meta": self._meta, "arrays": entries}
        manifest["crc32"] = _manifest_crc(manifest)
        (self._partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        remove_folder(self._path, _is_store_file)
        self._partial.rename(self._path)

    def appender(self, name: str, dtype: Any, row_shape: tuple[int, ...] = ()) -> "ArrayAppender":
        """Returns a writer of array `name` of shape (rows, *row_shape) that grows by whole blocks of rows."""
        if name in self._appenders:
            raise ValueError(f"array {name!r} is already in this store")
        self._appenders[name] = ArrayAppender(self._partial / f"{name}.npy", np.dtype(dtype), row_shape)
        return self._appenders[name]

    def add(self, name: str, array: np.ndarray) -> None:
        """Writes a whole array."""
        self.appender(name, array.dtype, array.shape[1:]).append(array)

    def adopt(self, folder: Path) -> None:
        """Moves a finished store into this one as a subfolder of the same name: a part that was prepared on its own.

        An exception in the rest of the block moves it back.
        """
        folder.rename(self._partial / folder.name)
        self._adopted.append(folder)


class ArrayAppender:
    """Appends blocks of rows to one array of a store."""

    def __init__(self, path: Path, dtype: np.dtype, row_shape: tuple[int, ...]) -> None:
        self._dtype = dtype.newbyteorder("<") if sys.byteorder == "big" else dtype
        self._row_shape = tuple(row_shape)
        self._file = path.open("wb")
        self._crc = 0
        self.rows = 0
        self._file.write(self._header())

    def append(self, rows: np.ndarray) -> None:
        """Appends rows of shape (n, *row_shape)."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"expected rows of shape {self._row_shape}, got {rows.shape[1:]}")
        block = np.ascontiguousarray(rows, dtype=self._dtype)
        view = block.reshape(-1).view(np.uint8).data
        self._file.write(view)
        self._crc = zlib.crc32(view, self._crc)
        self.rows += len(block)

    def close(self) -> dict[str, Any]:
        """Completes the file; returns its entry in the manifest. The checksum is of the rows, then of the header."""
        header, file_bytes = self._header(), self._file.tell()
        self._file.seek(0)
        self._file.write(header)
        self._file.close()
        return {
            "dtype": self._dtype.str,
            "shape": [self.rows, *self._row_shape],
            "file_bytes": file_bytes,
            "crc32": zlib.crc32(header, self._crc),
        }

    def _header(self) -> bytes:
        """Header of a NumPy file; NumPy leaves room in it for any number of rows, so that its length never changes."""
        header = io.BytesIO()
        layout = {"shape": (self.rows, *self._row_shape), "fortran_order": False, "descr": self._dtype.str}
        np.lib.format.write_array_header_1_0(header, layout)
        return header.getvalue()


class Store(Mapping[str, np.ndarray]):
    """A complete store, opened for reading. Arrays are read-only memory maps.

    Raises:
      StoreError: the folder is no store, has an unknown format version, or a file has the wrong size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest_path = path / MANIFEST
        try:
            manifest = json.loads(manifest_path.read_text())
            self._settings: str | None = manifest.get(_SETTINGS)
            version, self.meta, self._entries = manifest["format_version"], manifest["meta"], manifest["arrays"]
            if manifest.pop("crc32", None) != _manifest_crc(manifest):
                raise ValueError("its checksum is wrong")
        except FileNotFoundError:
            raise StoreError(f"no prepared data at {path} ({MANIFEST} is missing)") from None
        except OSError as error:
            raise _unreadable(manifest_path, error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{manifest_path} is damaged ({error}); delete {path} and prepare it again") from error
        if version not in _SUFFIXES:
            raise StoreError(
                f"{path} has store format {version}, this program reads {', '.join(map(str, _SUFFIXES))}; "
                "prepare the data again"
            )
        self._suffix = _SUFFIXES[version]
        self._arrays = {name: self._open(name, entry) for name, entry in self._entries.items()}

    def _open(self, name: str, entry: Mapping[str, Any]) -> np.ndarray:
        dtype, shape, file = np.dtype(entry["dtype"]), tuple(entry["shape"]), self._file(name)
        try:
            size = file.stat().st_size if file.exists() else -1
        except OSError as error:
            raise _unreadable(file, error) from error
        expected = entry.get("file_bytes", _row_bytes(entry))
        if size != expected:
            actual = "it is missing" if size < 0 else f"found {size}"
            raise StoreError(f"{file} should have {expected} bytes, {actual}; delete {self.path} and prepare it again")
        if _row_bytes(entry) == 0:
            return np.empty(shape, dtype)
        try:
            return np.memmap(file, dtype=dtype, mode="r", offset=size - _row_bytes(entry), shape=shape)
        except OSError as error:
            raise _unreadable(file, error) from error

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{self._suffix}"

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise KeyError(f"{self.path} has no array {name!r}; it has {', '.join(self._arrays)}")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Of each array: `dtype`, `shape` and `crc32`, as in the manifest."""
        return MappingProxyType(self._entries)

    @property
    def settings(self) -> str | None:
        """Digest of the settings that the store was prepared with; None where none is recorded."""
        return self._settings

    def verify(self) -> None:
        """Reads everything and compares checksums; raises StoreError that names the first damaged file."""
        for name, entry in self._entries.items():
            try:
                crc = _crc(self._file(name), _row_bytes(entry))
            except OSError as error:
                raise _unreadable(self._file(name), error) from error
            if crc != entry["crc32"]:
                raise StoreError(
                    f"{self._file(name)} is damaged (checksum {crc}, expected {entry['crc32']}); "
                    f"delete {self.path} and prepare it again"
                )


def record_settings(path: Path, settings: str) -> None:
    """Notes the digest of the settings that the finished store at `path` was prepared with."""
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["crc32"]
    manifest[_SETTINGS] = settings
    manifest["crc32"] = _manifest_crc(manifest)
    noted = path.with_name(f"{path.name}.{MANIFEST}")
    noted.write_text(json.dumps(manifest, indent=2) + "\n")
    noted.replace(path / MANIFEST)


def check_replaceable(path: Path) -> None:
    """Returns if a `StoreWriter` may write at `path`.

    Raises:
      ForeignFilesError: files that are not a store's lie there; nothing was removed.
    """
    for folder in (path, path.with_name(path.name + ".partial")):
        check_removable(folder, _is_store_file)


def store_manifests(path: Path) -> list[Path]:
    """The manifests of a store and of its parts, sorted."""
    return sorted(path.rglob(MANIFEST))


def content_digest(path: Path) -> str:
    """16 hexadecimal digits that stand for shapes, dtypes and checksums of all arrays of a store and of its parts.

    Raises:
      StoreError: the store is missing, or a manifest is damaged.
    """
    parts = [manifest.parent for manifest in store_manifests(path)] or [path]
    arrays = {part.relative_to(path).as_posix(): dict(Store(part).entries) for part in parts}
    return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()[:16]


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot read {path}: {error.strerror or error}; check its permissions and its disk")


def _row_bytes(entry: Mapping[str, Any]) -> int:
    return int(np.dtype(entry["dtype"]).itemsize * np.prod(entry["shape"], dtype=np.int64))


def _crc(path: Path, row_bytes: int) -> int:
    """Checksum of a file's last `row_bytes` bytes, then of the header before them."""
    header_bytes, crc = path.stat().st_size - row_bytes, 0
    with path.open("rb") as file:
        header = file.read(header_bytes)
        while block := file.read(_VERIFY_CHUNK_BYTES):
            crc = zlib.crc32(block, crc)
    return zlib.crc32(header, crc)


def _manifest_crc(manifest: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def check_labels(store: "Store", name: str, num_classes: int) -> np.ndarray:
    """Returns the integer labels called `name`, all of them in memory.

    Raises:
      StoreError: one is not in 0 ... `num_classes` - 1; frameworks differ in what they do with it.
    """
    labels = np.asarray(store[name])
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise StoreError(
            f"{store.path}: label {labels[outside[0]]} of example {outside[0]} in {name} is not one of 0 to "
            f"{num_classes - 1} ({len(outside)} such labels); prepare the dataset again"
        )
    return labels


def is_complete(path: Path) -> bool:
    """Whether `path` holds a finished store (its files are not read).

    Raises:
      StoreError: the folder cannot be looked at.
    """
    try:
        return (path / MANIFEST).is_file()
    except OSError as error:
        raise _unreadable(path, error) from error
