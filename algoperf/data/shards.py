"""Large splits as a row of smaller stores, so that an interrupted preparation continues with the next one.

While a dataset is prepared its parts lie in `<dataset>.parts`; the finished dataset has them as subfolders
`<split>_<number>`, and in its own metadata the number of parts of each split.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algoperf.data.store import MANIFEST, Store, StoreError, StoreWriter
from algoperf.ownership import check_removable, remove_folder

# Parts, those of an interrupted writer, and small intermediate results.
_is_staged_file = re.compile(rf"[^/]+/([^/]+\.npy|{re.escape(MANIFEST)})|[^/]+\.(model|partial)").fullmatch


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


def resume_parts(store_dir: Path) -> None:
    """Takes finished parts back from a dataset whose writing was interrupted after it had adopted them.

    Raises:
      ForeignFilesError: there are other files where the parts wait; nothing was removed.
    """
    check_removable(staging_dir(store_dir), _is_staged_file)
    for manifest in store_dir.with_name(f"{store_dir.name}.partial").glob(f"*/{MANIFEST}"):
        part, staged = manifest.parent, staging_dir(store_dir) / manifest.parent.name
        if not staged.exists():
            staged.parent.mkdir(parents=True, exist_ok=True)
            part.rename(staged)


def adopt_parts(writer: StoreWriter, store_dir: Path, paths: list[Path]) -> None:
    """Moves all parts into the dataset; the last thing to do before its `writer` is closed."""
    for path in paths:
        writer.adopt(path)
    remove_folder(staging_dir(store_dir), _is_staged_file)
