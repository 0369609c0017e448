"""What the suite asks of a model, in NumPy, so that the checks know no framework."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from algoperf import spec
from algoperf.backends.base import Weights
from algoperf.definition import FRAMEWORKS, WorkloadDefinition
from algoperf.spec import Batch

Outputs = dict[str, np.ndarray]


class State(NamedTuple):
    """Parameters and model state in the framework's own form."""

    params: Any
    model_state: Any


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A forward pass and its losses.

    Attributes:
      logits: every array of the logits, in order.
      loss: `summed` / `n_valid_examples`.
      losses: the dict of the loss function.
      weights: parameters and running statistics afterwards.
      gradients: of `loss`, by neutral parameter name; empty for a pass without gradients.
    """

    logits: list[np.ndarray]
    loss: float
    losses: dict[str, np.ndarray]
    weights: Weights
    gradients: Weights


class FrameworkAdapter(Protocol):
    """One model in one framework; batches are NumPy.

    Attributes:
      platform: "cpu", or the kind of accelerator on which it computes, where sums may change their order.
    """

    platform: str

    def init(self, seed: int) -> State: ...

    def training_pass(
        self, state: State, batch: Batch, *, dropout_rate: float = 0.0, label_smoothing: float = 0.0, seed: int = 0
    ) -> Pass:
        """Forward and backward in training mode; batch statistics are updated. `state` may be changed in place."""
        ...

    def forward_pass(
        self,
        state: State,
        batch: Batch,
        *,
        train: bool = False,
        update_batch_norm: bool = True,
        dropout_rate: float = 0.0,
        seed: int = 0,
    ) -> Pass: ...

    def evaluate(self, state: State, batch: Batch) -> Outputs: ...

    def export_weights(self, state: State) -> Weights: ...

    def import_weights(self, weights: Weights, seed: int = 0) -> State:
        """Returns a fresh state that holds `weights`."""
        ...

    def workload(self, definition: WorkloadDefinition, module: ModuleType) -> spec.Workload:
        """Returns what a submission sees of the model `module.build(definition)`; no memory is taken for parameters."""
        ...

    def is_output_parameter(self) -> dict[str, bool]:
        """What the model says of each of its top-level keys (JAX) or parameter names (PyTorch)."""
        ...


def missing_framework(framework: str) -> str | None:
    """Why `framework` cannot be checked here, or None."""
    package = FRAMEWORKS[framework].package
    return None if importlib.util.find_spec(package) else f"{package} is not installed"


def load_adapter(framework: str, model: Any) -> FrameworkAdapter:
    """Imports one framework and wraps `model`."""
    module = importlib.import_module(f"algoperf.testing.conformance.{FRAMEWORKS[framework].package}_adapter")
    adapter: FrameworkAdapter = module.make_adapter(model)
    return adapter


def map_arrays(function: Callable[[np.ndarray], Any], tree: Any) -> Any:
    """Applies `function` to every array of nested dicts, tuples and lists."""
    if isinstance(tree, Mapping):
        return {key: map_arrays(function, value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_arrays(function, value) for value in tree)
    return function(tree)


def arrays_of(tree: Any) -> list[Any]:
    """Every array of a tree, in order."""
    arrays: list[Any] = []
    map_arrays(arrays.append, tree)
    return arrays
