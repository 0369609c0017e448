"""Processes of JAX: joining and leaving them, and the texts that they share."""

import os
import time
import warnings
from typing import Any

import jax
from jax._src import distributed  # its client has no public name

_LEAVE_TIMEOUT_MS = 30_000
_LEAVE_S = 1.0  # in which the other processes leave


def join() -> bool:
    """Joins the processes that the environment names; returns whether there are any."""
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if not address or jax.distributed.is_initialized():
        return False
    missing = [name for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID") if not os.environ.get(name, "").isdigit()]
    if missing:
        raise ValueError(f"JAX_COORDINATOR_ADDRESS is set, so {' and '.join(missing)} must be whole numbers")
    # By default JAX aborts every process when one is lost, before a record can be written.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
    jax.distributed.initialize(
        coordinator_address=address,
        num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
        process_id=int(os.environ["JAX_PROCESS_ID"]),
    )
    return True


def leave(rank: int) -> None:
    """Leaves the other processes; process 0, which serves them, goes last, since its end aborts those still joined."""
    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier("algoperf/leave", _LEAVE_TIMEOUT_MS)
        if rank == 0:
            time.sleep(_LEAVE_S)
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError as error:
        warnings.warn(f"left jax.distributed before all processes did: {error}", stacklevel=3)


class JaxStore:
    """`RankStore` in the key-value service of `jax.distributed`."""

    def __init__(self) -> None:
        self._client: Any = distributed.global_state.client

    def set(self, key: str, value: str) -> None:
        self._client.key_value_set(f"algoperf/{key}", value, allow_overwrite=True)

    def get(self, key: str) -> str | None:
        try:
            value: str = self._client.key_value_try_get(f"algoperf/{key}")
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" in str(error):
                return None
            raise
        return value
