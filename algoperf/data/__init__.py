"""Framework-neutral input: prepared stores, batches by index, padding and masks."""

from algoperf.data.array_source import ArraySource
from algoperf.data.padding import pad_batch, pad_rows
from algoperf.data.pipeline import EvalPipeline, TrainPipeline
from algoperf.data.prefetch import Prefetcher
from algoperf.data.source import BatchRequest, Source
from algoperf.data.store import Store, StoreError, StoreWriter, check_labels, is_complete
from algoperf.spec import Batch

__all__ = [
    "ArraySource",
    "Batch",
    "BatchRequest",
    "EvalPipeline",
    "Prefetcher",
    "Source",
    "Store",
    "StoreError",
    "StoreWriter",
    "TrainPipeline",
    "check_labels",
    "is_complete",
    "pad_batch",
    "pad_rows",
]
