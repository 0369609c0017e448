"""Documents from Parquet files, a range of row groups at a time, and which of them are held out for validation."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.data import StoreError

TEXT_COLUMN = "text"
_HASH_BYTES = 8
_HASHES = 1 << (8 * _HASH_BYTES)


@dataclass(frozen=True, kw_only=True)
class RowGroups:
    """Consecutive row groups `first` ... `last` - 1 of a file, with `num_rows` documents in all."""

    path: Path
    first: int
    last: int
    num_rows: int


def is_held_out(document: str, share: float) -> bool:
    """Whether a document belongs to validation: equal texts are on the same side, wherever they stand."""
    digest = hashlib.blake2b(document.encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest, "big") < share * _HASHES


def held_out_nats(share: float) -> float:
    """How much less surprising a held-out document is to whoever knows that it is held out."""
    return -math.log(share)


def find_files(folder: Path) -> list[Path]:
    """Returns the Parquet files below `folder`, by name.

    Raises:
      StoreError: there is none.
    """
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise StoreError(f"{folder} has no Parquet file (*.parquet); give the folder of the dataset as --source_dir")
    return files


def row_groups(files: Sequence[Path], rows_per_range: int) -> list[RowGroups]:
    """Cuts files into ranges of row groups with at least `rows_per_range` documents each, but for a file's last one.

    Raises:
      StoreError: a file is cut off or damaged, or has no column of texts.
    """
    ranges = []
    for path in files:
        with _opened(path) as file:
            _check_text_column(path, file.schema_arrow)
            first, rows = 0, 0
            for group in range(file.metadata.num_row_groups):
                rows += file.metadata.row_group(group).num_rows
                if rows >= rows_per_range or group == file.metadata.num_row_groups - 1:
                    ranges.append(RowGroups(path=path, first=first, last=group + 1, num_rows=rows))
                    first, rows = group + 1, 0
    return ranges


def read_documents(groups: RowGroups) -> Iterator[str]:
    """Yields the texts in order; "" for a missing one.

    Raises:
      StoreError: the file is damaged.
    """
    import pyarrow

    with _opened(groups.path) as file:
        for group in range(groups.first, groups.last):
            try:
                texts = file.read_row_group(group, columns=[TEXT_COLUMN])[TEXT_COLUMN].to_pylist()
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _damaged(groups.path, error) from error
            for text in texts:
                yield text or ""


def _opened(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise StoreError(f"reading Parquet needs pyarrow ({error}); pip install 'algoperf[data]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _check_text_column(path: Path, schema: Any) -> None:
    import pyarrow

    if TEXT_COLUMN not in schema.names:
        raise StoreError(
            f"{path} has no column {TEXT_COLUMN!r}, it has {', '.join(schema.names)}; use FineWeb-Edu's files"
        )
    kind = schema.field(TEXT_COLUMN).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise StoreError(
            f"column {TEXT_COLUMN!r} of {path} must hold strings, it holds {kind}; use FineWeb-Edu's files"
        )


def _damaged(path: Path, error: Exception) -> StoreError:
    reason = " ".join(str(error).split())
    return StoreError(f"{path} is cut off or damaged ({reason}); fetch it again")
