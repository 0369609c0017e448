"""See `workloads.common.librispeech.data`, which all speech workloads share."""

from workloads.common.librispeech.data import fake_batch, open_split

__all__ = ["fake_batch", "open_split"]
