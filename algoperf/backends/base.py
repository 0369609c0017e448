"""What a framework must offer to the harness, and what a model must offer to a framework. Imports neither."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from algoperf import spec
from algoperf.definition import FRAMEWORKS, WorkloadDefinition
from algoperf.errors import UserError

# Values of a weights file that both frameworks read: Flax paths joined by "/", prefixed by "params/" or by the
# name of the state collection ("batch_stats/"); arrays in the Flax layout.
Weights = dict[str, np.ndarray]


class Model(Protocol):
    """A workload's model in one framework: what `build(definition)` of `jax_model.py` and `torch_model.py` returns.

    In JAX `params` is a nested dict and every method is pure; in PyTorch `params` is an `nn.Module`.
    """

    def init(self, rng: Any) -> tuple[Any, Any]:
        """Returns (params, model_state) drawn from `rng` (a JAX key; in PyTorch the generator is seeded already).

        PyTorch: the module is built on the current default device; `model_state` is None.
        """
        ...

    def forward(
        self,
        params: Any,
        batch: Mapping[str, Any],
        model_state: Any,
        *,
        train: bool,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float,
    ) -> tuple[Any, Any]:
        """Returns (logits, new model_state). With `train` and not `update_batch_norm`, batch statistics normalise
        and running ones stay as they are. Without `train`, running ones normalise."""
        ...

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        """Returns `summed`, `n_valid_examples` (scalars) and `per_example` (already multiplied by the weights)."""
        ...

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns arrays whose axis 0 runs over the examples of the batch (padding included, for the metrics to mask):
        per-example losses, hits, decoded tokens. Jitted (JAX) or run without gradients in eval mode (PyTorch)."""
        ...

    def is_output_params(self, param_key: str) -> bool: ...

    # A model may also define `param_type(name: str) -> ParameterType | None` (JAX names joined by "/", PyTorch
    # names by "."): None leaves the decision to `algoperf.param_types`.

    def export_weights(self, params: Any, model_state: Any) -> Weights:
        """Returns every parameter and running statistic under its neutral name."""
        ...

    def import_weights(self, weights: Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        """Inverse of `export_weights`: returns (params, model_state) of the same structure holding `weights`."""
        ...


class RankStore(Protocol):
    """Short texts that all ranks share, from any thread; either call may raise where the store's process is gone."""

    def set(self, key: str, value: str) -> None: ...

    def get(self, key: str) -> str | None:
        """Returns the value, or None where there is none; does not wait for one."""
        ...


class Backend(Protocol):
    """One framework on this machine. Created once per process, by `load`."""

    framework: str
    rank: int
    world_size: int  # processes
    num_devices: int  # over all processes; batch sizes must divide by it
    num_local_devices: int

    # -- clock and memory
    def fence(self, *trees: Any) -> None:
        """Waits until `trees` are computed and all device work that this process has queued is done."""
        ...

    def reset_memory(self) -> None:
        """Frees caches between trials and after an out-of-memory error."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool: ...

    # -- randomness (see algoperf.harness.seeds)
    def as_keys(self, words: np.ndarray) -> Any:
        """Turns random words, int64 [..., 2] in [0, 2**31 - 1), into keys of the framework, indexable on the leading
        axes without device work (JAX accepts a uint32 NumPy array [2] as a key; PyTorch's facade uses int32)."""
        ...

    def seed_global(self, seed: int, step: int) -> None:
        """Seeds whatever global generators the framework draws from (PyTorch dropout); a no-op in JAX."""
        ...

    # -- processes
    def barrier(self) -> None: ...

    def max_over_ranks(self, value: float) -> float: ...

    def gather_objects(self, value: Any) -> list[Any]:
        """Returns the picklable `value` of every rank, in rank order, on every rank."""
        ...

    def broadcast_object(self, value: Any) -> Any:
        """Returns rank 0's picklable `value` on every rank."""
        ...

    def rank_store(self) -> RankStore | None:
        """A store of its own connection, which no collective operation can block; None for one process."""
        ...

    # -- data and models
    def put_batch(self, batch: spec.Batch) -> spec.Batch:
        """Moves this rank's share of a batch (NumPy leaves, not changed afterwards) to the devices: JAX gives global
        arrays sharded on axis 0. May be called from another thread."""
        ...

    def microbatched(self, definition: WorkloadDefinition, model: Model, max_rows: int, sample: spec.Batch) -> Model:
        """A model that computes the same, on at most `max_rows` rows of a device at a time, with less memory.

        Raises `MicrobatchError` where batches like `sample` cannot be split, or where the model normalises by them."""
        ...

    def build_workload(self, definition: WorkloadDefinition, model: Model) -> spec.Workload: ...

    # Packages whose functions and classes an evaluation in this framework is made of, besides those of the benchmark.
    evaluation_packages: Sequence[str]

    def evaluate(
        self, workload: spec.Workload, params: Any, model_state: Any, batches: Iterator[spec.Batch]
    ) -> Iterator[tuple[spec.Batch, dict[str, np.ndarray]]]:
        """Yields (host batch, this rank's outputs as NumPy) for each host batch; keeps one batch in flight.

        Hooks and overridden methods of a submission's module are not called: only its values are evaluated.

        Raises `WrongModelError` where names or shapes of the parameters are not those of `workload`."""
        ...

    def prepare_model(
        self,
        workload: spec.Workload,
        params: Any,
        *,
        compile_model: bool | None,
        sample_batch: Callable[[], spec.Batch] | None = None,
    ) -> Any:
        """Wraps fresh parameters for training (PyTorch: DDP under torchrun, optional torch.compile).

        `sample_batch` makes a batch of this rank's size (the workload's `fake_batch`, NumPy leaves). With
        `compile_model` (None: on a GPU), PyTorch tries to compile and train a copy of the model on it and continues
        uncompiled, with a warning, where that fails; under DDP it finds out in the same way whether parameters are
        unused. From then on `workload.init_model_fn` wraps in the same way. On a GPU both frameworks warn where a step
        on such a batch seems to need more memory than there is; JAX does nothing else."""
        ...

    def use_compilation_cache(self, folder: Path, *, is_shared: bool) -> None:
        """Keeps compiled programs in `folder` from now on, and takes them from there. Unless it is shared between runs,
        what `prepare_model` compiles on trial is not kept: the first step compiles anew, on the clock. A folder that
        the framework's own environment variable names stays in use."""
        ...

    def place_state(self, optimizer_state: Any) -> Any:
        """Places a fresh optimizer state as steps return it, so that the second step needs no compilation of its own:
        JAX puts arrays that nobody has placed whole on every device; PyTorch returns it as it is."""
        ...

    # -- checkpoints
    def check_savable(self, state: Mapping[str, Any]) -> None:
        """Raises what `save_state` would raise for `state`, without writing anything."""
        ...

    def save_state(self, directory: Path, state: Mapping[str, Any]) -> None:
        """Writes `model_params`, `model_state` and `optimizer_state` into the empty `directory`.

        Raises `UnsavableStateError` that names the offending entry."""
        ...

    def load_state(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        """Reads them back; `template` is freshly initialised state of the same run.

        Raises `StateMismatchError` where the checkpoint is intact but of another structure, and `ValueError` where it
        cannot be read. PyTorch restores into the template's objects."""
        ...

    def load_model(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        """Reads `model_params` and `model_state` alone, which needs nothing of the submission that wrote them.

        `template` has both, freshly initialised. Raises as `load_state` does."""
        ...

    # -- handing over to another process of this machine
    def model_bytes(self, params: Any, model_state: Any) -> dict[str, np.ndarray]:
        """The bytes (uint8 [n], on the host) of every array that an evaluation needs, by a text of its name, dtype and
        shape: texts and order are the same for the same model in every process."""
        ...

    def with_model_bytes(self, values: Mapping[str, np.ndarray], params: Any, model_state: Any) -> tuple[Any, Any]:
        """Inverse of `model_bytes`: (params, model_state) like those given, which may be changed, with `values`."""
        ...

    def write_state(self, file: BinaryIO, state: Mapping[str, Any]) -> None:
        """What `save_state` keeps, quickly and for this version of the software alone; raises as it does."""
        ...

    def read_state(self, file: BinaryIO, template: Mapping[str, Any]) -> dict[str, Any]:
        """Reads what `write_state` wrote in an earlier process of the same run; raises as `load_state` does."""
        ...

    # -- provenance
    def trace(self, directory: Path) -> contextlib.AbstractContextManager[Any]:
        """Writes a profiler trace of the block into `directory` (JAX; nothing in PyTorch)."""
        ...

    def device_report(self) -> dict[str, Any]:
        """Names, counts, memory and driver of the devices, framework version, peak memory."""
        ...

    def close(self) -> None:
        """Leaves process groups."""
        ...


class UnsavableStateError(UserError, TypeError):
    """A submission's optimizer state holds something that a checkpoint cannot keep."""


class WrongModelError(ValueError):
    """A submission returned parameters of another model than the workload's."""


def check_shapes(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compares the shapes of parameters by name.

    Raises:
      WrongModelError: names the first difference.
    """
    for name in sorted(actual.keys() | expected.keys()):
        if actual.get(name) != expected.get(name):
            was, got = (shapes.get(name, "none") for shapes in (expected, actual))
            raise WrongModelError(
                f"the submission returned other parameters than the workload's: {name} must have shape {was}, got "
                f"{got}; return the model that the workload initialised, with new values"
            )


class StateMismatchError(UserError):
    """An intact checkpoint was written by another submission, workload or number of processes."""


class MissingFrameworkError(UserError, ImportError):
    """The package of the chosen framework is not installed."""


def load(framework: str, **options: Any) -> Backend:
    """Imports one framework's backend and creates it. Nothing of the other framework is imported."""
    if framework not in FRAMEWORKS:
        raise ValueError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {framework!r}")
    package = FRAMEWORKS[framework].package
    try:
        module = importlib.import_module(f"algoperf.backends.{package}")
    except ImportError as error:
        raise MissingFrameworkError(
            f"--framework={framework} needs a package that is not installed ({error}); "
            f"install it with: pip install 'algoperf[{package}]'"
        ) from error
    backend: Backend = module.create(**options)
    return backend


def model_module(framework: str) -> str:
    """Name of the module of a workload package that holds the model of `framework` (a test's own framework too)."""
    package = FRAMEWORKS[framework].package if framework in FRAMEWORKS else framework
    return f"{package}_model"
