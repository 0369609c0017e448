"""JAX on all devices of this machine, or of several processes joined by `jax.distributed`."""

import contextlib
import functools
import gc
import importlib
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.experimental.compilation_cache import compilation_cache

from algoperf import jax_sharding_utils, nvidia, spec
from algoperf.backends import host_memory, jax_processes, precision
from algoperf.backends.base import Model
from algoperf.backends.jax_microbatches import MicrobatchedModel
from algoperf.backends.jax_workload import JaxWorkload
from algoperf.backends.microbatches import check_splits
from algoperf.definition import JAX, WorkloadDefinition
from algoperf.edition import MatmulPrecision

__all__ = ["JaxBackend", "JaxWorkload", "create", "set_matmul_precision"]

_COMPILATION_EVENT = "/jax/core/compile/backend_compile_duration"
_CACHE_BYTES = 2**31
_CACHED_FROM_S = 0.2  # seconds of compilation
_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)


_PRECISIONS = {
    MatmulPrecision.FLOAT32: ("float32", "highest"),
    MatmulPrecision.TF32: ("tensorfloat32", "high"),
    MatmulPrecision.BFLOAT16: ("bfloat16", "default"),
}


def create(*, matmul_precision: MatmulPrecision = MatmulPrecision.FLOAT32, deterministic: bool = False) -> "JaxBackend":
    """Starts JAX; with JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID set, joins the other processes.

    Args:
      matmul_precision: of matrix products and convolutions of the whole process, CPUs excepted.
      deterministic: sums on GPUs have a fixed order; for programs that are compiled after JAX's start here.
    """
    if deterministic and _DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DETERMINISTIC}".strip()
    jax.config.update("jax_threefry_partitionable", True)
    _compilations()
    joined = jax_processes.join()
    if jax.default_backend() == "cpu":
        host_memory.keep_freed()
    else:
        set_matmul_precision(matmul_precision)
    return JaxBackend(joined=joined)


def set_matmul_precision(setting: MatmulPrecision) -> None:
    """Sets matrix products and convolutions of the whole process that name no precision of their own."""
    jax.config.update("jax_default_matmul_precision", _PRECISIONS[setting][0])


class JaxBackend:
    """See `algoperf.backends.base.Backend`. Keys are JAX's raw ones: uint32 arrays [2]."""

    framework = JAX.name
    evaluation_packages = ("numpy", "jax.numpy", "jax.nn", "jax._src.numpy", "jax._src.nn", "flax.linen")

    def __init__(self, *, joined: bool = False) -> None:
        self._joined = joined
        self.rank = jax.process_index()
        self.world_size = jax.process_count()
        self.num_devices = jax.device_count()
        self.num_local_devices = jax.local_device_count()
        self._touch_all = jax.jit(lambda x: x + 1)
        self._fence_inputs = _fence_inputs()
        self._fresh_signature: list[list[Any]] | None = None

    # -- clock and memory

    def fence(self, *trees: Any) -> None:
        """Waits until `trees` are computed and all device work that this process has queued is done.

        Devices run what one thread queues in order, so a trivial computation queued now ends last: one on each
        device, and one over all of them, which on CPU go through different queues. Arrays that other threads queued
        are waited for one by one. (Only what another thread queued on a CPU and threw away goes unnoticed.)
        """
        jax.block_until_ready(trees)
        jax.block_until_ready([self._touch_all(x) for x in self._fence_inputs])
        for array in jax.live_arrays():
            try:
                array.block_until_ready()
            except RuntimeError:
                continue  # donated or failed: nothing is left to wait for
        jax.effects_barrier()

    def reset_memory(self) -> None:
        gc.collect()

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError) or (
            isinstance(error, jax.errors.JaxRuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
        )

    # -- randomness

    def as_keys(self, words: np.ndarray) -> np.ndarray:
        return np.asarray(words).astype(np.uint32)

    def seed_global(self, seed: int, step: int) -> None:
        pass

    # -- processes

    def barrier(self) -> None:
        if self.world_size > 1:
            multihost_utils.sync_global_devices("algoperf")

    def max_over_ranks(self, value: float) -> float:
        if self.world_size == 1:
            return float(value)
        words = np.frombuffer(np.float64(value).tobytes(), np.uint32)
        return float(np.ascontiguousarray(self._gather(words)).view(np.float64).max())

    def gather_objects(self, value: Any) -> list[Any]:
        if self.world_size == 1:
            return [value]
        message = np.frombuffer(pickle.dumps(value), np.uint8)
        lengths = self._gather(np.array([len(message)], np.int32))[:, 0]
        padded = np.zeros(lengths.max(), np.uint8)
        padded[: len(message)] = message
        rows = self._gather(padded)
        return [pickle.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]

    def broadcast_object(self, value: Any) -> Any:
        return self.gather_objects(value if self.rank == 0 else None)[0]

    def rank_store(self) -> jax_processes.JaxStore | None:
        return jax_processes.JaxStore() if self._joined else None

    def _gather(self, array: np.ndarray) -> np.ndarray:
        """Stacks every rank's array of one shape: [world_size, *shape]."""
        return np.asarray(multihost_utils.process_allgather(array)).reshape(self.world_size, *array.shape)

    # -- data and models

    def put_batch(self, batch: spec.Batch) -> spec.Batch:
        """Global arrays split on axis 0 from this rank's rows. The NumPy arrays must not change afterwards."""
        sharding = jax_sharding_utils.get_batch_dim_sharding()
        if self.world_size == 1:
            on_devices: spec.Batch = jax.device_put(batch, sharding)
        else:
            on_devices = jax.tree.map(
                lambda rows: jax.make_array_from_process_local_data(sharding, np.asarray(rows)), batch
            )
        return on_devices

    def microbatched(self, definition: WorkloadDefinition, model: Model, max_rows: int, sample: spec.Batch) -> Model:
        _, model_state = jax.eval_shape(model.init, np.zeros(2, np.uint32))
        lengths = [len(array) for array in jax.tree.leaves(sample)]
        check_splits(definition.name, lengths, has_batch_statistics=bool(jax.tree.leaves(model_state)))
        return cast(Model, MicrobatchedModel(model, max_rows))

    def build_workload(self, definition: WorkloadDefinition, model: Model) -> JaxWorkload:
        return JaxWorkload(definition, model)

    def evaluate(
        self, workload: JaxWorkload, params: Any, model_state: Any, batches: Iterator[spec.Batch]
    ) -> Iterator[tuple[spec.Batch, dict[str, np.ndarray]]]:
        workload.check_params(params)
        previous = None
        for batch in batches:
            outputs = workload.evaluate_batch(params, self.put_batch(batch), model_state)
            for leaf in jax.tree.leaves(outputs):
                leaf.copy_to_host_async()
            if previous is not None:
                yield previous[0], _local_rows(previous[1])
            previous = batch, outputs
        if previous is not None:
            yield previous[0], _local_rows(previous[1])

    def prepare_model(
        self,
        workload: JaxWorkload,
        params: Any,
        *,
        compile_model: bool | None,
        sample_batch: Callable[[], spec.Batch] | None = None,
    ) -> Any:
        """Returns `params`; warns where a step seems to need more memory than the process may use of a device."""
        available = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")  # a CPU does not say
        if available is not None and sample_batch is not None:
            batch = jax.tree.map(lambda array: array[: max(1, len(array) // self.num_local_devices)], sample_batch())
            if (message := workload.memory_shortage(batch, available)) is not None:
                warnings.warn(message, stacklevel=2)
            jax.clear_caches()  # of what was traced, or the first step would be faster
        return params

    def use_compilation_cache(self, folder: Path, *, is_shared: bool) -> None:
        if "JAX_COMPILATION_CACHE_DIR" in os.environ:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _CACHED_FROM_S)
        compilation_cache.reset_cache()  # or the folder of an earlier trial stays in use

    def place_state(self, optimizer_state: Any) -> Any:
        """The state with arrays that are on no device in particular whole on every device, where steps return them."""
        replicated = jax_sharding_utils.get_replicate_sharding()

        def placed(leaf: Any) -> Any:
            is_placed = not isinstance(leaf, jax.Array) or leaf.committed
            return leaf if is_placed else jax.device_put(leaf, replicated)

        optimizer_state = jax.tree.map(placed, optimizer_state)
        self._fresh_signature = _checkpoint_module().signature(optimizer_state, "optimizer_state")
        return optimizer_state

    # -- checkpoints

    def check_savable(self, state: Mapping[str, Any]) -> None:
        _checkpoint_module().encode(state)

    def save_state(self, directory: Path, state: Mapping[str, Any]) -> None:
        _checkpoint_module().save(directory, state, self._fresh_signature)

    def load_state(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = _checkpoint_module().load(directory, template)
        return state

    def load_model(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        model: dict[str, Any] = _checkpoint_module().load_model(directory, template)
        return model

    # -- handing over to another process of this machine

    def model_bytes(self, params: Any, model_state: Any) -> dict[str, np.ndarray]:
        leaves, _ = jax.tree_util.tree_flatten_with_path({"params": params, "model_state": model_state})
        arrays = {_described(path, leaf): np.asarray(leaf) for path, leaf in leaves}
        return {name: np.ascontiguousarray(array).reshape(-1).view(np.uint8) for name, array in arrays.items()}

    def with_model_bytes(self, values: Mapping[str, np.ndarray], params: Any, model_state: Any) -> tuple[Any, Any]:
        def replaced(path: Any, leaf: Any) -> Any:
            array = values[_described(path, leaf)].view(leaf.dtype).reshape(leaf.shape)
            return jax.device_put(array, leaf.sharding)

        tree = {"params": params, "model_state": model_state}
        filled = jax.tree_util.tree_map_with_path(replaced, tree)
        return filled["params"], filled["model_state"]

    def write_state(self, file: BinaryIO, state: Mapping[str, Any]) -> None:
        _checkpoint_module().write(file, state, self._fresh_signature)

    def read_state(self, file: BinaryIO, template: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = _checkpoint_module().read(file, template)
        return state

    # -- provenance

    def trace(self, directory: Path) -> contextlib.AbstractContextManager[Any]:
        trace: contextlib.AbstractContextManager[Any] = jax.profiler.trace(str(directory))
        return trace

    def device_report(self) -> dict[str, Any]:
        devices = jax.local_devices()
        statistics = [device.memory_stats() or {} for device in devices]
        return {
            "framework": JAX.name,
            "framework_version": jax.__version__,
            "matmul_precision": _matmul_precision(devices[0]),
            "platform": devices[0].platform,
            "platform_version": devices[0].client.platform_version,
            "device_names": [device.device_kind for device in devices],
            "num_devices": self.num_devices,
            "num_local_devices": self.num_local_devices,
            "num_processes": self.world_size,
            "num_compilations_of_process": _compilations().count,
            "memory_bytes": [stats.get("bytes_limit") for stats in statistics],
            "peak_memory_bytes": [stats.get("peak_bytes_in_use") for stats in statistics],
            "driver_version": nvidia.driver_version() if devices[0].platform in ("gpu", "cuda") else None,
        }

    def close(self) -> None:
        if self._joined:
            jax_processes.leave(self.rank)
            self._joined = False


def _described(path: Any, leaf: Any) -> str:
    return f"{jax.tree_util.keystr(path)} {leaf.dtype.name} {tuple(leaf.shape)}"


def _matmul_precision(device: jax.Device) -> str:
    """The precision in effect, or the name of the setting where it is none of `MatmulPrecision`."""
    name = str(jax.config.values["jax_default_matmul_precision"] or "default")
    setting = next((key for key, names in _PRECISIONS.items() if name in names), None)
    if setting is None:
        return name
    capability = getattr(device, "compute_capability", None)
    return precision.in_effect(setting, platform=device.platform, compute_capability=capability)


def _checkpoint_module() -> ModuleType:
    return importlib.import_module("algoperf.backends.jax_checkpoint")  # Orbax takes a quarter of a second to import


class _CompilationCounter:
    """Counts what XLA compiles from now on."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._event)

    def _event(self, event: str, duration_secs: float, **kwargs: Any) -> None:
        self.count += event == _COMPILATION_EVENT


@functools.cache
def _compilations() -> _CompilationCounter:
    """The one of this process: JAX cannot take a listener away again."""
    return _CompilationCounter()


def _fence_inputs() -> list[jax.Array]:
    """A scalar on each local device and an array over all of them."""
    devices = jax.local_devices()
    mesh = jax.sharding.Mesh(np.array(devices), ("device",))
    over_all = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("device"))
    return [*(jax.device_put(jnp.float32(0), d) for d in devices), jax.device_put(np.zeros(len(devices)), over_all)]


def _local_rows(tree: Any) -> Any:
    """NumPy copies of this process's rows of arrays that are split on axis 0."""
    return jax.tree.map(_rows_of_array, tree)


def _rows_of_array(array: jax.Array) -> np.ndarray:
    if array.is_fully_addressable:
        return np.asarray(array)
    parts = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(part.data) for part in parts])
