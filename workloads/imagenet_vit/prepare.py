"""Preparation of the workload's data: that of every ImageNet workload."""

from workloads.common.imagenet.prepare import how_to_get, prepare, required_bytes

__all__ = ["how_to_get", "prepare", "required_bytes"]
