"""Names that AlgoPerf submissions import. Nothing touches a device before a function is called."""

import os

import torch
import torch.distributed as dist
from torch import nn


def pytorch_setup() -> tuple[bool, int, torch.device, int]:
    """Returns (whether torchrun started several processes, rank, device of this process, number of devices in use)."""
    use_ddp = "LOCAL_RANK" in os.environ
    rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device(f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu")
    return use_ddp, rank, device, int(os.environ.get("WORLD_SIZE", "1"))


def pytorch_init(use_pytorch_ddp: bool, rank: int, profiler: object = None) -> None:
    """Does nothing: the benchmark has set up processes and devices before a submission runs."""


def sync_ddp_time(time: float, device: torch.device) -> float:
    """Largest `time` over the processes."""
    if not (dist.is_available() and dist.is_initialized()):
        return time
    latest = torch.tensor(time, dtype=torch.float64, device=device)
    dist.all_reduce(latest, op=dist.ReduceOp.MAX)
    return latest.item()


def update_batch_norm_fn(module: nn.Module, update_batch_norm: bool) -> None:
    """Freezes or frees the running statistics of `module` if it is a batch norm; for `model.apply`."""
    if hasattr(module, "update_running_stats"):
        setattr(module, "update_running_stats", update_batch_norm)  # noqa: B010 (nn.Module is typed to hold tensors)


def unwrapped(module: nn.Module) -> nn.Module:
    """The workload's own module below DistributedDataParallel and torch.compile wrappers."""
    inner = module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module
    inner = getattr(inner, "_orig_mod", inner)
    return module if inner is module else unwrapped(inner)
