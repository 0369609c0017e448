"""Large splits as a row of smaller stores, so that an interrupted preparation continues with the next one.

While a dataset is prepared its parts lie in `<dataset>.parts`; the finished dataset has them as subfolders
`<split>_<number>`, and in its own metadata the number of parts of each split.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algoperf.data import Store, StoreError, StoreWriter


def part_name(split: str, number: int) -> str:
    return f"{split}_{number:04d}"


def staging_dir(store_dir: Path) -> Path:
    """Where parts wait for the dataset to be complete."""
    return store_dir.with_name(f"{store_dir.name}.parts")


def write_part(
    store_dir: Path, split: str, number: int, meta: Mapping[str, Any], write: Callable[[StoreWriter], None]
) -> Path:
    """Writes one part by calling `write`, unless an earlier, interrupted run finished it with the same `meta`."""
    path = staging_dir(store_dir) / part_name(split, number)
    if not _is_finished(path, meta):
        with StoreWriter(path, meta) as writer:
            write(writer)
    return path


def _is_finished(path: Path, meta: Mapping[str, Any]) -> bool:
    try:
        return dict(Store(path).meta) == meta
    except StoreError:
        return False


def adopt_parts(writer: StoreWriter, store_dir: Path, paths: list[Path]) -> None:
    """Moves all parts into the dataset; the last thing to do before its `writer` is closed."""
    for path in paths:
        writer.adopt(path)
    shutil.rmtree(staging_dir(store_dir), ignore_errors=True)
