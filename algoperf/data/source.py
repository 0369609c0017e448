"""What a workload's `data.py` offers: examples by index."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from algoperf.definition import Split, WorkloadDefinition
from algoperf.reporting import Report
from algoperf.spec import Batch


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """Which examples to read.

    Attributes:
      indices: int64 [n], n <= batch_size; fewer only in the last batch of an evaluation.
      batch_size: examples the batch must hold after padding (this rank's share).
      num_shards: local devices that the batch will be split over, equally, on axis 0.
      seed: seed of augmentations; None in evaluation, where nothing is random.
      epochs: int64 [n], pass over the data to which each index belongs; zeros in evaluation. An augmentation
        is a function of (seed, epoch, index) and nothing else.
    """

    indices: np.ndarray
    batch_size: int
    num_shards: int = 1
    seed: int | None = None
    epochs: np.ndarray | None = None


class Source(Protocol):
    """One split of a dataset. Random access; `read` may be called from another thread.

    A source whose rows depend on their own index alone (nothing is packed, mixed or padded across a batch) may have
    an int attribute `rows_per_read`: training then reads up to that many rows at once, for several batches.
    A source with an int attribute `shuffle_block_rows` over 1 is trained on in blocks of so many consecutive rows, in
    random order, and in stored order inside a block.
    """

    def __len__(self) -> int: ...

    def read(self, request: BatchRequest) -> Batch:
        """Returns NumPy leaves of leading size `batch_size`: `inputs`, `targets`, and in evaluation `weights`.

        `algoperf.data.pad_batch` does the padding (zeros, at the end) and the weights (ones, then zeros).
        """
        ...


class DataModule(Protocol):
    """The functions of a workload's `data.py`."""

    def open_split(self, definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source: ...

    def fake_batch(self, definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
        """A random but valid batch of the right shapes and dtypes, with no file read. Its last example is padding
        (weight 0) where `weights` is given."""
        ...


class PrepareModule(Protocol):
    """The functions of a workload's `prepare.py`. `find_raw` may be left out where the raw dataset is generated."""

    def prepare(
        self,
        definition: WorkloadDefinition,
        data_dir: Path,
        *,
        source_dir: Path | None,
        num_workers: int,
        report: Report,
    ) -> None:
        """Turns the raw dataset into the store `new_store_dir(definition, data_dir)`; resumable; idempotent.

        Without a `source_dir`, the raw dataset is where `find_raw(definition, data_dir)` finds it.
        A mini generates its raw files first (`algoperf.ownership.generate_once` into `raw_dir(definition, data_dir)`)
        and then runs the code of the full dataset on them. `report(message)` shows progress."""
        ...

    def find_raw(self, definition: WorkloadDefinition, folder: Path) -> Path | None:
        """The folder that holds the raw dataset: `folder`, or one below it at a place where AlgoPerf's setup puts it.

        None where it is not there. Looks at few names, and neither reads nor changes a file."""
        ...

    def how_to_get(self, definition: WorkloadDefinition) -> str:
        """Where the raw dataset comes from, how large it is, and the command that prepares it."""
        ...
