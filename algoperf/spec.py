"""The public types that a submission meets. Imports no framework.

Names and signatures are those of the AlgoPerf v0.6 submission API, so that existing submissions run unmodified.
"""

import abc
import enum
from collections.abc import Iterator, Mapping
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
Tensor = Any  # jax.Array or torch.Tensor
Batch = dict[str, Any]  # arrays by name; axis 0 counts examples
Hyperparameters = Any  # one point of a search space, with an attribute for each name; None in a self-tuning run
ModelAuxiliaryState = Any  # batch statistics; None where the model has none
OptimizerState = Any  # whatever the submission's `init_optimizer_state` returns
ParameterContainer = Any  # JAX: pytree of arrays; PyTorch: the model, an nn.Module
ParameterKey = str
ParameterShapeTree = Any
ParameterTypeTree = Any
RandomState = Any  # JAX: a key; PyTorch: int32 [2]
Timing = float  # seconds
InputQueue = Iterator[Batch]  # endless training batches

ModelInitState = tuple[ParameterContainer, ModelAuxiliaryState]
UpdateReturn = tuple[OptimizerState, ParameterContainer, ModelAuxiliaryState]


class ForwardPassMode(enum.Enum):
    """Whether a forward pass trains (dropout, batch statistics of the batch) or evaluates; values as in AlgoPerf."""

    TRAIN = 0
    EVAL = 1


class TrainingCompleteError(Exception):
    """Raised by `update_params` to say that the submission has nothing left to do."""


class ShapeTuple:
    """A shape as one leaf of a parameter tree; `shape_tuple` holds the sizes of its axes."""

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

    Attributes:
      definition: what the workload is, as data.
      metrics_logger: where a submission may record scalars; None where nothing is recorded (ranks other than 0).
    """

    def __init__(self, definition: WorkloadDefinition) -> None:
        self.definition = definition
        self.metrics_logger: MetricsLogger | None = None

    @property
    def name(self) -> str:
        """Key in the registry, for example `wmt_post_ln`."""
        return self.definition.name

    @property
    def target_metric_name(self) -> str:
        """Name of the metric that the targets are values of, without a split: `bleu`, `wer`, ..."""
        return self.definition.metric.name

    @property
    def loss_type(self) -> LossType:
        """The loss family; `loss_fn` computes it."""
        return self.definition.loss_type

    @property
    def validation_target_value(self) -> float:
        """Value of the target metric on the validation split that ends a run. Source: the definition's `sources`."""
        return self.definition.validation_target

    @property
    def test_target_value(self) -> float | None:
        """The same on the test split; None where the workload has no test target."""
        return self.definition.test_target

    @property
    def num_train_examples(self) -> int:
        """Examples of the training split."""
        return self.definition.splits.train

    @property
    def num_eval_train_examples(self) -> int:
        """Examples of the training data on which training metrics are reported."""
        return self.definition.splits.eval_train

    @property
    def num_validation_examples(self) -> int:
        """Examples of the validation split."""
        return self.definition.splits.validation

    @property
    def num_test_examples(self) -> int | None:
        """Examples of the test split; None where there is none."""
        return self.definition.splits.test

    @property
    def eval_batch_size(self) -> int:
        """Global batch size of evaluations, over all devices; the benchmark fixes it."""
        return self.definition.eval_batch_size

    @property
    def max_allowed_runtime_sec(self) -> float:
        """Budget of submission time in seconds, before the factor of the tuning ruleset."""
        return self.definition.budget.max_runtime_s

    @property
    def eval_period_time_sec(self) -> float:
        """Seconds of submission time between two evaluations."""
        return self.definition.budget.eval_period_s

    @property
    def step_hint(self) -> int:
        """Training steps that the reference algorithm makes within the budget; schedules may be as long as this."""
        return self.definition.budget.step_hint

    @property
    def train_mean(self) -> Any:
        """Mean of each channel, subtracted from the inputs; NotImplementedError where inputs are not normalised so."""
        return self._data_constant("train_mean")

    @property
    def train_stddev(self) -> Any:
        """Standard deviation of each channel, by which inputs are divided; NotImplementedError as for `train_mean`."""
        return self._data_constant("train_stddev")

    def _data_constant(self, name: str) -> Any:
        if not hasattr(self.definition.data, name):
            raise NotImplementedError(f"workload {self.name!r} has no {name}")
        return getattr(self.definition.data, name)

    def has_reached_validation_target(self, metrics: Mapping[str, float]) -> bool:
        """Whether `validation/<target metric>` of an evaluation is strictly better than its target; NaN never is."""
        return self._strictly_better(metrics, Split.VALIDATION, self.validation_target_value)

    def has_reached_test_target(self, metrics: Mapping[str, float]) -> bool:
        """The same for `test/<target metric>`; True where the workload has no test target."""
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


class GetBatchSize(Protocol):
    """The hook `get_batch_size`, called once before a run."""

    def __call__(self, workload_name: str, /) -> int:
        """Returns the global batch size of training. ValueError, LookupError or None: this workload is not known."""
        ...


class InitOptimizerState(Protocol):
    """The hook `init_optimizer_state`, called once before the first step. Time in it is not charged."""

    def __call__(
        self,
        *,
        workload: Workload,
        model_params: ParameterContainer,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        rng: RandomState,
    ) -> OptimizerState:
        """Returns the state that the other hooks are given, of any type that a checkpoint can hold."""
        ...


class DataSelection(Protocol):
    """The hook `data_selection`, called before every step. Time in it is charged."""

    def __call__(
        self,
        *,
        workload: Workload,
        input_queue: InputQueue,
        optimizer_state: OptimizerState,
        current_param_container: ParameterContainer,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        global_step: int,
        rng: RandomState,
    ) -> Batch:
        """Returns the batch of step `global_step` (from 0), drawn from `input_queue`."""
        ...


class UpdateParams(Protocol):
    """The hook `update_params`, called for every step. Time in it is charged."""

    def __call__(
        self,
        *,
        workload: Workload,
        current_param_container: ParameterContainer,
        current_params_types: ParameterTypeTree,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        batch: Batch,
        loss_type: LossType,
        optimizer_state: OptimizerState,
        eval_results: list[tuple[int, dict[str, float]]],
        global_step: int,
        rng: RandomState,
    ) -> UpdateReturn:
        """Makes one update. `eval_results` holds (step, metrics) of each evaluation so far, oldest first.

        Raises:
          TrainingCompleteError: there is nothing left to do; the state before this call is evaluated.
        """
        ...


class UpdateParamsWithTrainState(Protocol):
    """`update_params` of a submission that also asks for `train_state`, by naming that argument."""

    def __call__(
        self,
        *,
        workload: Workload,
        current_param_container: ParameterContainer,
        current_params_types: ParameterTypeTree,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        batch: Batch,
        loss_type: LossType,
        optimizer_state: OptimizerState,
        eval_results: list[tuple[int, dict[str, float]]],
        global_step: int,
        rng: RandomState,
        train_state: Mapping[str, Any],
    ) -> UpdateReturn:
        """As `UpdateParams`; `train_state` is a read-only view of times (seconds) and reached goals."""
        ...


class PrepareForEval(Protocol):
    """The optional hook `prepare_for_eval`, called before every evaluation. Time in it is charged."""

    def __call__(
        self,
        *,
        workload: Workload,
        current_param_container: ParameterContainer,
        current_params_types: ParameterTypeTree,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        loss_type: LossType,
        optimizer_state: OptimizerState,
        eval_results: list[tuple[int, dict[str, float]]],
        global_step: int,
        rng: RandomState,
    ) -> UpdateReturn:
        """Returns what is evaluated, and what training continues from."""
        ...


InitOptimizerFn = InitOptimizerState
UpdateParamsFn = UpdateParams
DataSelectionFn = DataSelection
