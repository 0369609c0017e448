"""See `workloads.common.librispeech.prepare`, which all speech workloads share."""

from workloads.common.librispeech.prepare import how_to_get, prepare, required_bytes

__all__ = ["how_to_get", "prepare", "required_bytes"]
