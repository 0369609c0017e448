"""The one device mesh of a JAX run, under the names that AlgoPerf submissions import.

Batches are split on axis 0 over the mesh axis `batch`; parameters and states are replicated.
Nothing touches a device before a function is called.
"""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

BATCH_AXIS = "batch"


@functools.cache
def get_mesh() -> Mesh:
    """All devices of all processes in one row called `batch`."""
    return Mesh(np.array(jax.devices()), (BATCH_AXIS,))


@functools.cache
def get_replicate_sharding() -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(get_mesh(), PartitionSpec())


@functools.cache
def get_batch_dim_sharding() -> NamedSharding:
    """Axis 0 is split over the devices."""
    return NamedSharding(get_mesh(), PartitionSpec(BATCH_AXIS))


def shard_along_batch_dim(tree: Any) -> Any:
    """Splits axis 0 of every leaf, [global batch, ...], over the devices."""
    return jax.device_put(tree, get_batch_dim_sharding())


def replicate(tree: Any) -> Any:
    """Puts every leaf whole on every device."""
    return jax.device_put(tree, get_replicate_sharding())


def display_shard_info(array: jax.Array) -> None:
    """Prints where the parts of `array` lie."""
    for shard in array.addressable_shards:
        print(f"device {shard.device}: index {shard.index}, shape {shard.data.shape}")
