"""Where data lie below a data directory: `<data_dir>/prepared/<dataset>` and, next to it, what its preparation needs.

Raw datasets of a person's own may lie anywhere else in the data directory. Stores of earlier versions, which lie at
`<data_dir>/<dataset>`, are still read.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from algoperf.data.store import is_complete
from algoperf.definition import WorkloadDefinition

PREPARED = "prepared"


def new_store_dir(definition: WorkloadDefinition, data_dir: Path) -> Path:
    """Where `prepare` writes the store of `definition`."""
    return data_dir / PREPARED / definition.dataset


def store_dir(definition: WorkloadDefinition, data_dir: Path) -> Path:
    """Where the store of `definition` is read: the place of earlier versions only where the new one has none."""
    new, old = new_store_dir(definition, data_dir), data_dir / definition.dataset
    return old if is_complete(old) and not is_complete(new) else new


def raw_dir(definition: WorkloadDefinition, data_dir: Path) -> Path:
    """Where a mini generates its raw files, and where downloads of `prepare` go."""
    return data_dir / PREPARED / f"{definition.dataset}_raw"


def work_dir(definition: WorkloadDefinition, data_dir: Path) -> Path:
    """Intermediate results that survive an interruption."""
    return data_dir / PREPARED / f".{definition.dataset}.work"


def first_folder(root: Path, below: Iterable[str | Path], holds: Callable[[Path], bool]) -> Path | None:
    """The first of `root` and its subfolders `below` for which `holds`; None where none does."""
    folders = (root, *(root / name for name in below))
    return next((folder for folder in folders if folder.is_dir() and holds(folder)), None)
