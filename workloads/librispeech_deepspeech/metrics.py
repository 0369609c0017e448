"""See `workloads.common.librispeech.metrics`, which all speech workloads share."""

from workloads.common.librispeech.metrics import make_metrics

__all__ = ["make_metrics"]
