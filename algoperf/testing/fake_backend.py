"""A backend on plain NumPy: tests of the harness need no framework, no device and no waiting."""

import contextlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from algoperf import spec
from algoperf.backends.base import Model, UnsavableStateError
from algoperf.backends.model_workload import ModelWorkload
from algoperf.definition import ParameterType, WorkloadDefinition

_STATE_FILE = "state.pickle"
_SAVABLE = (int, float, str, bool, type(None), np.ndarray, np.generic)


class FakeBackend:
    """`algoperf.backends.base.Backend` for models in NumPy (`numpy_model.py` of a workload package).

    Device work is imagined: `queue_work(seconds)` adds to what the next `fence` waits for, by calling `sleep`.

    Attributes:
      events: names of the calls that matter for the order of things ("fence", "reset_memory", "save_state", ...).

    Args:
      sleep: how a fence waits, for example `FakeClock.advance`.
      rank, world_size: as this process should appear; collectives answer from this rank alone.
    """

    framework = "numpy"
    evaluation_packages = ("numpy",)

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_local_devices: int = 1,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.num_local_devices = num_local_devices
        self.num_devices = world_size * num_local_devices
        self.events: list[str] = []
        self._sleep = sleep
        self._queued_s = 0.0

    def queue_work(self, seconds: float) -> None:
        """Pretends that `seconds` of device work were queued."""
        self._queued_s += seconds

    def fence(self, *trees: Any) -> None:
        self.events.append("fence")
        if self._sleep is not None and self._queued_s:
            self._sleep(self._queued_s)
        self._queued_s = 0.0

    def reset_memory(self) -> None:
        self.events.append("reset_memory")

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def as_keys(self, words: np.ndarray) -> np.ndarray:
        return words

    def seed_global(self, seed: int, step: int) -> None:
        pass

    def barrier(self) -> None:
        self.events.append("barrier")

    def max_over_ranks(self, value: float) -> float:
        return value

    def gather_objects(self, value: Any) -> list[Any]:
        return [value]

    def broadcast_object(self, value: Any) -> Any:
        return value

    def rank_store(self) -> None:
        return None

    def put_batch(self, batch: spec.Batch) -> spec.Batch:
        return batch

    def microbatched(self, definition: WorkloadDefinition, model: Any, max_rows: int, sample: spec.Batch) -> Any:
        return model

    def build_workload(self, definition: WorkloadDefinition, model: Model) -> "FakeWorkload":
        return FakeWorkload(definition, model)

    def evaluate(
        self, workload: Any, params: Any, model_state: Any, batches: Iterator[spec.Batch]
    ) -> Iterator[tuple[spec.Batch, dict[str, np.ndarray]]]:
        self.events.append("evaluate")
        for batch in batches:
            yield batch, workload.model.evaluate(params, batch, model_state)

    def prepare_model(
        self,
        workload: spec.Workload,
        params: Any,
        *,
        compile_model: bool | None,
        sample_batch: Callable[[], spec.Batch] | None = None,
    ) -> Any:
        return params

    def use_compilation_cache(self, folder: Path, *, is_shared: bool) -> None:
        pass

    def place_state(self, optimizer_state: Any) -> Any:
        return optimizer_state

    def check_savable(self, state: Mapping[str, Any]) -> None:
        _require_savable(state, "state")

    def save_state(self, directory: Path, state: Mapping[str, Any]) -> None:
        self.events.append("save_state")
        _require_savable(state, "state")
        if self.rank == 0:
            (directory / _STATE_FILE).write_bytes(pickle.dumps(dict(state)))

    def load_state(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = pickle.loads((directory / _STATE_FILE).read_bytes())
        return state

    def load_model(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        state = self.load_state(directory, template)
        return {name: state[name] for name in ("model_params", "model_state")}

    def model_bytes(self, params: Any, model_state: Any) -> dict[str, np.ndarray]:
        leaves = _map_leaves(lambda name, leaf: np.asarray(leaf), params)
        return {f"{k} {v.dtype} {v.shape}": v.reshape(-1).view(np.uint8) for k, v in leaves.items()}

    def with_model_bytes(self, values: Mapping[str, np.ndarray], params: Any, model_state: Any) -> tuple[Any, Any]:
        pairs = zip(params.items(), values.values(), strict=True)
        return {k: value.view(leaf.dtype).reshape(leaf.shape) for (k, leaf), value in pairs}, model_state

    def write_state(self, file: BinaryIO, state: Mapping[str, Any]) -> None:
        _require_savable(state, "state")
        pickle.dump(dict(state), file)

    def read_state(self, file: BinaryIO, template: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = pickle.load(file)
        return state

    def trace(self, directory: Path) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def device_report(self) -> dict[str, Any]:
        return {"framework": self.framework, "framework_version": np.__version__, "devices": ["imagined"]}

    def close(self) -> None:
        self.events.append("close")


class FakeWorkload(ModelWorkload):
    """The workload of a NumPy model; `model` also offers `gradient(params, batch)` to test submissions."""

    def __init__(self, definition: WorkloadDefinition, model: Any) -> None:
        super().__init__(definition, model, softmax=_softmax, sigmoid=_sigmoid)
        self.model = model

    @property
    def param_shapes(self) -> Any:
        params, _ = self.model.init(0)
        return _map_leaves(lambda name, leaf: spec.ShapeTuple(leaf.shape), params)

    @property
    def model_params_types(self) -> Any:
        params, _ = self.model.init(0)
        return _map_leaves(lambda name, leaf: ParameterType.BIAS if name == "bias" else ParameterType.WEIGHT, params)

    def init_model_fn(self, rng: Any) -> spec.ModelInitState:
        params, model_state = self.model.init(rng)
        return params, model_state

    def model_fn(
        self,
        params: Any,
        augmented_and_preprocessed_input_batch: spec.Batch,
        model_state: Any,
        mode: spec.ForwardPassMode,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float | None = None,
    ) -> tuple[Any, Any]:
        return self.forward(
            params,
            augmented_and_preprocessed_input_batch,
            model_state,
            train=mode is spec.ForwardPassMode.TRAIN,
            rng=rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
        )


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def _map_leaves(function: Callable[[str, Any], Any], tree: Any, name: str = "") -> Any:
    if isinstance(tree, dict):
        return {key: _map_leaves(function, value, key) for key, value in tree.items()}
    return function(name, tree)


def _require_savable(tree: Any, path: str) -> None:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            _require_savable(value, f"{path}.{key}")
    elif isinstance(tree, (tuple, list)):
        for position, value in enumerate(tree):
            _require_savable(value, f"{path}[{position}]")
    elif not isinstance(tree, _SAVABLE):
        raise UnsavableStateError(f"{path} is a {type(tree).__name__}, which a checkpoint cannot hold")
