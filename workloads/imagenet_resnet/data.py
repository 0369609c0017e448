"""Input of the workload: that of every ImageNet workload."""

from workloads.common.imagenet.source import fake_batch, open_split

__all__ = ["fake_batch", "open_split"]
