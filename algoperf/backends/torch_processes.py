"""Processes of PyTorch under torchrun: joining them, and the texts that they share."""

import datetime

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous


class TorchStore:
    """`RankStore` in the store by which the processes found each other."""

    _TIMEOUT = datetime.timedelta(seconds=2)

    def __init__(self, store: Store) -> None:
        self._store = PrefixStore("algoperf", store)
        self._store.set_timeout(self._TIMEOUT)

    def set(self, key: str, value: str) -> None:
        self._store.set(key, value)

    def get(self, key: str) -> str | None:
        return self._store.get(key).decode() if self._store.check([key]) else None


def join(backend: str) -> TorchStore:
    """Joins the processes that torchrun started; returns a store of its own connection.

    Args:
      backend: of the process group, for example `gloo`.
    """
    store, rank, world_size = next(iter(rendezvous("env://")))
    dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=world_size)
    return TorchStore(store.clone())
