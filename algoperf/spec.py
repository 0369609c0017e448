"""The public types that a submission meets. Imports no framework.

Names and signatures are those of the AlgoPerf v0.6 submission API, so that existing submissions run unmodified.
"""

import abc
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from algoperf.definition import LossType, ParameterType, Split, WorkloadDefinition

__all__ = [
    "ForwardPassMode",
    "LossType",
    "ParameterType",
    "ShapeTuple",
    "TrainingCompleteError",
    "Workload",
]

Array = Any  # numpy.ndarray, jax.Array or torch.Tensor
Batch = dict[str, Any]
Hyperparameters = Any
ModelAuxiliaryState = Any
OptimizerState = Any
ParameterContainer = Any
ParameterTypeTree = Any
RandomState = Any
Tensor = Any
Timing = float

ParameterShapeTree = Any
ParameterKey = str
ModelInitState = tuple[ParameterContainer, ModelAuxiliaryState]
UpdateReturn = tuple[OptimizerState, ParameterContainer, ModelAuxiliaryState]
InitOptimizerFn = Callable[..., OptimizerState]
UpdateParamsFn = Callable[..., UpdateReturn]
DataSelectionFn = Callable[..., Batch]


class ForwardPassMode(enum.Enum):
    TRAIN = 0
    EVAL = 1


class TrainingCompleteError(Exception):
    """Raised by `update_params` to say that the submission has nothing left to do."""


class ShapeTuple:
    """A shape as one leaf of a parameter tree."""

    def __init__(self, shape_tuple: tuple[int, ...]) -> None:
        self.shape_tuple = tuple(int(size) for size in shape_tuple)

    def __repr__(self) -> str:
        return f"ShapeTuple({self.shape_tuple})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeTuple) and self.shape_tuple == other.shape_tuple

    def __hash__(self) -> int:
        return hash(self.shape_tuple)


class MetricsLogger(Protocol):
    """What `workload.metrics_logger` offers to a submission. Time spent in it is charged to the submission."""

    def append_scalar_metrics(self, metrics: Mapping[str, float], global_step: int) -> None:
        """Records scalars (training loss, gradient norm, ...) of one step in `measurements.csv`."""
        ...


class Workload(abc.ABC):
    """A model, its loss and its data as a submission sees them. Hashable by identity.

    The two final classes are `algoperf.backends.jax.JaxWorkload` and `algoperf.backends.torch.TorchWorkload`.
    Everything that does not depend on the framework is read from the definition here.
    """

    def __init__(self, definition: WorkloadDefinition) -> None:
        self.definition = definition
        self.metrics_logger: MetricsLogger | None = None

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def target_metric_name(self) -> str:
        return self.definition.metric.name

    @property
    def loss_type(self) -> LossType:
        return self.definition.loss_type

    @property
    def validation_target_value(self) -> float:
        return self.definition.validation_target

    @property
    def test_target_value(self) -> float | None:
        return self.definition.test_target

    @property
    def num_train_examples(self) -> int:
        return self.definition.splits.train

    @property
    def num_eval_train_examples(self) -> int:
        return self.definition.splits.eval_train

    @property
    def num_validation_examples(self) -> int:
        return self.definition.splits.validation

    @property
    def num_test_examples(self) -> int | None:
        return self.definition.splits.test

    @property
    def eval_batch_size(self) -> int:
        return self.definition.eval_batch_size

    @property
    def max_allowed_runtime_sec(self) -> float:
        return self.definition.budget.max_runtime_s

    @property
    def eval_period_time_sec(self) -> float:
        return self.definition.budget.eval_period_s

    @property
    def step_hint(self) -> int:
        return self.definition.budget.step_hint

    @property
    def train_mean(self) -> Any:
        """Per-channel mean subtracted from the inputs, where the workload normalises them with constants."""
        return self._data_constant("train_mean")

    @property
    def train_stddev(self) -> Any:
        return self._data_constant("train_stddev")

    def _data_constant(self, name: str) -> Any:
        if not hasattr(self.definition.data, name):
            raise NotImplementedError(f"workload {self.name!r} has no {name}")
        return getattr(self.definition.data, name)

    def has_reached_validation_target(self, metrics: Mapping[str, float]) -> bool:
        return self._strictly_better(metrics, Split.VALIDATION, self.validation_target_value)

    def has_reached_test_target(self, metrics: Mapping[str, float]) -> bool:
        return self._strictly_better(metrics, Split.TEST, self.test_target_value)

    def _strictly_better(self, metrics: Mapping[str, float], split: Split, target: float | None) -> bool:
        if target is None:
            return True
        return self.definition.metric.better(metrics[f"{split}/{self.target_metric_name}"], target)

    @property
    @abc.abstractmethod
    def param_shapes(self) -> ParameterShapeTree:
        """Tree of `ShapeTuple` with the structure of the parameters (PyTorch: keyed by parameter name)."""

    @property
    @abc.abstractmethod
    def model_params_types(self) -> ParameterTypeTree:
        """Tree of `ParameterType` with the structure of `param_shapes`."""

    @abc.abstractmethod
    def init_model_fn(self, rng: RandomState) -> ModelInitState:
        """Returns freshly initialised (parameters, model state)."""

    @abc.abstractmethod
    def model_fn(
        self,
        params: ParameterContainer,
        augmented_and_preprocessed_input_batch: Batch,
        model_state: ModelAuxiliaryState,
        mode: ForwardPassMode,
        rng: RandomState,
        update_batch_norm: bool,
        dropout_rate: float | None = None,
    ) -> tuple[Tensor, ModelAuxiliaryState]:
        """Returns (logits, new model state). `mode` alone decides train or eval; a rate of None is the default."""

    @abc.abstractmethod
    def loss_fn(
        self,
        label_batch: Any,
        logits_batch: Any,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Returns `summed` and `n_valid_examples` (scalars, not reduced over devices) and `per_example`."""

    @abc.abstractmethod
    def output_activation_fn(self, logits_batch: Tensor) -> Tensor:
        """Softmax, sigmoid or identity, by loss type."""

    @abc.abstractmethod
    def is_output_params(self, param_key: ParameterKey) -> bool:
        """Whether a top-level JAX key or a PyTorch parameter name belongs to the output layer."""


InputQueue = Iterator[Batch]
