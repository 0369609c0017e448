"""Framework-neutral input: prepared stores, batches by index, padding and masks."""

from algoperf.data.padding import pad_batch, pad_rows
from algoperf.data.source import Batch, BatchRequest, Source
from algoperf.data.store import Store, StoreError, StoreWriter, is_complete

__all__ = [
    "Batch",
    "BatchRequest",
    "Source",
    "Store",
    "StoreError",
    "StoreWriter",
    "is_complete",
    "pad_batch",
    "pad_rows",
]
