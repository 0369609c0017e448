"""What a workload is, declared once as data.

Every number that defines a task (sizes, targets, budgets, model dimensions) lives in a `WorkloadDefinition`
and nowhere else: the harness, the scorer, the documentation and the tests read the same object.
This module uses the standard library only, so that reading a definition is free.
"""

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


class LossType(enum.IntEnum):
    """Loss families; values as in AlgoPerf v0.6."""

    SOFTMAX_CROSS_ENTROPY = 0
    SIGMOID_CROSS_ENTROPY = 1
    MEAN_SQUARED_ERROR = 2
    CTC_LOSS = 3
    MEAN_ABSOLUTE_ERROR = 4


class ParameterType(enum.IntEnum):
    """Kinds of parameter tensors that a submission may treat differently; values as in AlgoPerf v0.6."""

    WEIGHT = 0
    BIAS = 1
    CONV_WEIGHT = 2
    BATCH_NORM_SCALE = 3
    BATCH_NORM_BIAS = 4
    LAYER_NORM_SCALE = 5
    LAYER_NORM_BIAS = 6
    EMBEDDING = 7
    ATTENTION_Q = 8
    ATTENTION_K = 9
    ATTENTION_V = 10
    ATTENTION_OUT = 11
    ATTENTION_QKV = 12
    ATTENTION_KV = 13
    ATTENTION_BIAS = 14


class Direction(enum.StrEnum):
    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Tier(enum.StrEnum):
    FULL = "full"
    MINI = "mini"
    DEVELOPMENT = "development"


class Split(enum.StrEnum):
    """`EVAL_TRAIN` is the part of the training data on which training metrics are reported."""

    TRAIN = "train"
    EVAL_TRAIN = "eval_train"
    VALIDATION = "validation"
    TEST = "test"


FRAMEWORKS = ("jax", "pytorch")
EVAL_SPLITS = (Split.EVAL_TRAIN, Split.VALIDATION, Split.TEST)


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A reported metric and which way is better."""

    name: str
    direction: Direction

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`; NaN is never better."""
        return a < b if self.direction is Direction.MINIMIZE else a > b

    def reached(self, value: float, target: float) -> bool:
        """Whether a run with `value` has met `target` (inclusive, as scoring counts it); NaN never does."""
        return value <= target if self.direction is Direction.MINIMIZE else value >= target


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """Numbers of examples. `test` is None where a workload has no test split."""

    train: int
    eval_train: int
    validation: int
    test: int | None

    def __post_init__(self) -> None:
        for split in dataclasses.fields(self):
            size = getattr(self, split.name)
            if size is not None and size < 1:
                raise ValueError(f"split {split.name!r} must have at least one example, got {size}")

    def __getitem__(self, split: str) -> int | None:
        size: int | None = getattr(self, str(split))
        return size

    def get(self, split: str) -> int:
        """Returns the number of examples of `split`; raises LookupError where the workload has no such split."""
        sizes = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        existing = {name: size for name, size in sizes.items() if size is not None}
        if split not in existing:
            raise LookupError(f"there is no split {str(split)!r}; this workload has {', '.join(existing)}")
        return int(existing[str(split)])


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Time budget of one run: seconds of submission time, seconds between evaluations, and a length hint in steps."""

    max_runtime_s: float
    eval_period_s: float
    step_hint: int

    def __post_init__(self) -> None:
        if not (self.max_runtime_s > 0 and self.eval_period_s > 0 and self.step_hint > 0):
            raise ValueError(f"every part of a budget must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """Tuning rules: how many trials form a study, and the factor on `max_runtime_s`."""

    name: str
    trials_per_study: int
    budget_factor: float
    tunable: bool


# Budget factors and trial counts of AlgoPerf v0.6 (documentation of the benchmark rules, v0.6).
EXTERNAL = Ruleset(name="external", trials_per_study=5, budget_factor=1.0, tunable=True)
SELF_TUNING = Ruleset(name="self", trials_per_study=1, budget_factor=1.5, tunable=False)
RULESETS: Mapping[str, Ruleset] = MappingProxyType({r.name: r for r in (EXTERNAL, SELF_TUNING)})


@dataclass(frozen=True, kw_only=True)
class WorkloadDefinition:
    """One workload, a variant of one, or its mini.

    Attributes:
      name: registry key, for example `wmt_post_ln`.
      base: name of the base workload; equal to `name` for a base workload. Batch sizes fall back to it.
      tier: full, mini or development.
      title: one line for tables.
      dataset: folder of the prepared store under the data directory; workloads may share one.
      metric: the target metric, with its direction.
      other_metrics: further metrics that an evaluation reports for each split.
      validation_target, test_target: values of `metric` that end a run; `test_target` None means no test target.
      splits: numbers of examples.
      eval_batch_size: global batch size of evaluations, fixed by the benchmark.
      default_dropout: rate used when a submission passes none; None where the model has no dropout.
      model: frozen dataclass with the model's dimensions and switches.
      data: frozen dataclass with what the pipeline needs (vocabulary size, lengths, generator settings), or None.
      small_model: the same dataclass at test size and with the same switches; None means `model` is small already.
      small_data: the same for `data`; None means `data` serves.
      parameter_count: number of scalar parameters, equal in both frameworks.
      parameter_kinds: per framework (`jax`, `pytorch`), number of tensors of each `ParameterType` name.
      initial_loss: bounds of the mean training loss of a freshly initialised model (`shrunk()` size).
      mini: name of the mini counterpart, if any.
      batch_size_scale: factor on the base workload's batch size for a submission that knows only the base.
      sources: where each number comes from.
    """

    name: str
    base: str
    tier: Tier
    title: str
    dataset: str
    loss_type: LossType
    metric: MetricSpec
    other_metrics: tuple[MetricSpec, ...] = ()
    validation_target: float
    test_target: float | None
    splits: SplitSizes
    budget: Budget
    eval_batch_size: int
    default_dropout: float | None
    model: Any
    data: Any = None
    small_model: Any = None
    small_data: Any = None
    parameter_count: int
    parameter_kinds: Mapping[str, Mapping[str, int]]
    initial_loss: tuple[float, float]
    mini: str | None = None
    batch_size_scale: float = 1.0
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.islower():
            raise ValueError(f"a workload name is a lower-case identifier, got {self.name!r}")
        if self.eval_batch_size < 1:
            raise ValueError(f"{self.name}: eval_batch_size must be positive, got {self.eval_batch_size}")
        for framework, kinds in self.parameter_kinds.items():
            if framework not in FRAMEWORKS:
                raise ValueError(f"{self.name}: parameter_kinds is keyed by 'jax' and 'pytorch', got {framework!r}")
            unknown = set(kinds) - set(ParameterType.__members__)
            if unknown:
                raise ValueError(f"{self.name}: unknown parameter kinds {sorted(unknown)}")

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        return (self.metric, *self.other_metrics)

    def shrunk(self) -> "WorkloadDefinition":
        """The same task with the test-size model and data: what the conformance suite runs."""
        return dataclasses.replace(self, model=self.small_model or self.model, data=self.small_data or self.data)

    def digest(self) -> str:
        """Hash of everything that defines the task or the scored number (16 hex digits).

        A field of `model` or `data` whose metadata say `{"in_digest": False}` (where a file lies, say) does not count.
        """
        fields = _plain(self)
        for key in ("title", "sources"):
            fields.pop(key)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Workloads that are run and scored together.

    Attributes:
      studies: per ruleset name, the number of studies that the rules ask for.
      rules: the scorer's rule set, a name or a file.
      mini: the suite that stands in where full datasets are missing.
    """

    name: str
    workloads: tuple[str, ...]
    studies: Mapping[str, int]
    rules: str
    mini: str | None = None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.metadata.get("in_digest", True)]
        return {f.name: _plain(getattr(value, f.name)) for f in fields}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    return value
