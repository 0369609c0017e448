"""What a workload is, declared once as data.

Every number that defines a task (sizes, targets, budgets, model dimensions) lives in a `WorkloadDefinition`
and nowhere else: the harness, the scorer, the documentation and the tests read the same object.
This module uses the standard library only, so that reading a definition is free.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from algoperf.digest import NOT_IN_DIGEST, digest, store_digest
from algoperf.edition import V0_6, EditionError, since
from algoperf.errors import UserError


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


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A framework that models and submissions are written in.

    Attributes:
      name: as in flags, in the folders of results and in records.
      package: what is imported. The modules of a framework are named after it: `<package>_model.py` of a workload,
        `<package>_submission.py` of an algorithm, `algoperf.backends.<package>`; so is the extra that installs it.
    """

    name: str
    package: str


JAX = Framework(name="jax", package="jax")
PYTORCH = Framework(name="pytorch", package="torch")
_HORIZON_MARK = "_horizon"
FRAMEWORKS: Mapping[str, Framework] = MappingProxyType({f.name: f for f in (JAX, PYTORCH)})


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
        sizes: dict[str, int | None] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        existing = {name: size for name, size in sizes.items() if size is not None}
        if split not in existing:
            raise LookupError(f"there is no split {str(split)!r}; this workload has {', '.join(existing)}")
        return existing[str(split)]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Time budget of one run: seconds of submission time, seconds between evaluations, and a length hint in steps."""

    max_runtime_s: float
    eval_period_s: float
    step_hint: int

    def __post_init__(self) -> None:
        if not (self.max_runtime_s > 0 and self.eval_period_s > 0 and self.step_hint > 0):
            raise ValueError(f"every part of a budget must be positive, got {self}")

    def times(self, factor: int) -> Self:
        """The budget of a run `factor` times as long; evaluations keep their period."""
        return dataclasses.replace(self, max_runtime_s=self.max_runtime_s * factor, step_hint=self.step_hint * factor)


@dataclass(frozen=True, kw_only=True)
class ReferenceBudget(Budget):
    """A budget declared in reference steps: steps of the reference algorithm at the workload's reference point.

    What a reference step costs is measured where a run takes place, in the run's framework. The seconds are what the
    steps took where the targets were set, and do not define the task; they hold where nothing is measured.

    Attributes:
      max_runtime_steps: the submission time of one run, in reference steps.
      eval_period_steps: the submission time between evaluations, in reference steps.
      target_steps: steps that the reference takes to the validation target, for estimates; of no effect on a run.
    """

    max_runtime_s: float = field(metadata=NOT_IN_DIGEST)
    eval_period_s: float = field(metadata=NOT_IN_DIGEST)
    max_runtime_steps: int
    eval_period_steps: int
    target_steps: int = field(metadata=NOT_IN_DIGEST)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eval_period_steps <= self.max_runtime_steps or not self.target_steps > 0:
            raise ValueError(f"expected 0 < eval_period_steps <= max_runtime_steps and 0 < target_steps, got {self}")

    def times(self, factor: int) -> Self:
        longer = super().times(factor)
        return dataclasses.replace(
            longer,
            max_runtime_steps=self.max_runtime_steps * factor,
            target_steps=self.target_steps * factor,
        )

    def at_cost(self, step_s: float) -> "ReferenceBudget":
        """The same budget on a machine on which a reference step takes `step_s` seconds."""
        return dataclasses.replace(
            self, max_runtime_s=self.max_runtime_steps * step_s, eval_period_s=self.eval_period_steps * step_s
        )


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
class ConformanceSpec:
    """What the conformance suite needs to test a workload. It defines neither the task nor a score.

    Attributes:
      small_model: `model` at test size, with the same switches; None means that `model` is small already.
      small_data: the same for `data`; None means that `data` serves.
      parameter_count: number of scalar parameters of `model`, equal in all frameworks.
      parameter_kinds: for each framework, the number of tensors of `model` of each `ParameterType` name.
      initial_loss: bounds of the mean training loss of a freshly initialised model at test size.
      ragged_leaves: names of entries of a batch whose arrays differ between batches on other axes than the first.
    """

    small_model: Any = None
    small_data: Any = None
    parameter_count: int
    parameter_kinds: Mapping[str, Mapping[str, int]]
    initial_loss: tuple[float, float]
    ragged_leaves: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for framework, kinds in self.parameter_kinds.items():
            if framework not in FRAMEWORKS:
                raise ValueError(f"parameter_kinds is keyed by {' and '.join(FRAMEWORKS)}, got {framework!r}")
            unknown = set(kinds) - set(ParameterType.__members__)
            if unknown:
                raise ValueError(
                    f"unknown parameter kinds {sorted(unknown)}; known: {', '.join(ParameterType.__members__)}"
                )
        low, high = self.initial_loss
        if not low < high:
            raise ValueError(f"initial_loss is (lower bound, upper bound), got {self.initial_loss}")


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
      edition: of the rules that the budget is of; the first one that has the workload, unless `of_edition` made this.
      later_budgets: where a later edition changes the budget, by its name.
      eval_batch_size: global batch size of evaluations, fixed by the benchmark.
      default_dropout: rate used when a submission passes none; None where the model has no dropout.
      model: frozen dataclass with the model's dimensions and switches.
      data: frozen dataclass with what the pipeline needs (vocabulary size, lengths, generator settings), or None.
      checks: what the conformance suite needs.
      mini_name: name of the mini that stands in where the full dataset is missing, if any.
      reference_batch_size: global batch size of the reference algorithms.
      reference_hyperparameters: the point of the reference algorithm in the timed runs of target setting, which a
        single run of that algorithm takes as well; empty where there is none. No suite reads it.
      horizons: for each factor on the step hint that targets are kept for, the validation and the test target there.
      batch_size_scale: factor on the base workload's batch size for a submission that knows only the base.
      sources: where each number comes from.
    """

    name: str
    base: str
    tier: Tier
    title: str = field(metadata=NOT_IN_DIGEST)
    dataset: str
    loss_type: LossType
    metric: MetricSpec
    other_metrics: tuple[MetricSpec, ...] = ()
    validation_target: float
    test_target: float | None
    splits: SplitSizes
    budget: Budget
    edition: str = field(default=V0_6.name, metadata=NOT_IN_DIGEST)
    later_budgets: Mapping[str, Budget] = field(default_factory=dict, metadata=NOT_IN_DIGEST)
    eval_batch_size: int
    default_dropout: float | None
    model: Any
    data: Any = None
    checks: ConformanceSpec = field(metadata=NOT_IN_DIGEST)
    mini_name: str | None = field(default=None, metadata=NOT_IN_DIGEST)
    reference_batch_size: int = field(metadata=NOT_IN_DIGEST)
    reference_hyperparameters: Mapping[str, Any] = field(default_factory=dict, metadata=NOT_IN_DIGEST)
    horizons: Mapping[int, tuple[float, float | None]] = field(default_factory=dict, metadata=NOT_IN_DIGEST)
    batch_size_scale: float = 1.0
    sources: Mapping[str, str] = field(default_factory=dict, metadata=NOT_IN_DIGEST)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.islower():
            raise ValueError(f"a workload name is a lower-case identifier, got {self.name!r}")
        for size in ("eval_batch_size", "reference_batch_size"):
            if getattr(self, size) < 1:
                raise ValueError(f"{self.name}: {size} must be positive, got {getattr(self, size)}")

        unknown = set(self.later_budgets) - set(since(self.edition)[1:])
        if unknown:
            raise ValueError(f"{self.name}: later_budgets is of editions after {self.edition}, got {sorted(unknown)}")

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """The target metric and the others."""
        return (self.metric, *self.other_metrics)

    def of_edition(self, edition: str) -> "WorkloadDefinition":
        """The same workload under the rules of an edition: with the budget that holds then.

        Raises:
          EditionError: there is no such edition, or it is before this definition's.
        """
        if edition not in since(self.edition):
            raise EditionError(
                f"{self.name} is no workload of edition {edition}; it is one of {', '.join(since(self.edition))}"
            )
        later = set(since(edition)[1:])
        changes = [self.later_budgets[e] for e in since(self.edition) if e in self.later_budgets and e not in later]
        return dataclasses.replace(
            self,
            edition=edition,
            budget=[self.budget, *changes][-1],
            later_budgets={e: budget for e, budget in self.later_budgets.items() if e in later},
        )

    def shrunk(self) -> "WorkloadDefinition":
        """The same task with the test-size model and data: what the conformance suite runs."""
        checks = self.checks
        return dataclasses.replace(self, model=checks.small_model or self.model, data=checks.small_data or self.data)

    def digest(self) -> str:
        """Hash of everything that defines the task or the scored number; see `algoperf.digest`.

        Fields whose metadata are `NOT_IN_DIGEST` do not count, in `model` and `data` (where a file lies, say) as here.
        """
        return digest(self)

    def store_digest(self) -> str:
        """Hash of the settings that the prepared data depend on: those of `data`, and the sizes of the splits.

        The part of the training data that evaluations use is chosen when it is read, and does not count.
        """
        return store_digest(self.data, self.splits.train, self.splits.validation, self.splits.test)

    def at_horizon(self, factor: int) -> "WorkloadDefinition":
        """The same task with `factor` times the step hint and budget, and the targets that were set for that length.

        Raises:
          UserError: no targets are kept for that factor.
        """
        if factor == 1:
            return self
        if factor not in self.horizons:
            known = ", ".join(map(str, sorted({1, *self.horizons})))
            raise UserError(f"{self.name}: targets are kept for a horizon of {known}, got {factor}")
        validation, test = self.horizons[factor]
        return dataclasses.replace(
            self,
            name=horizon_name(self.name, factor),
            title=f"{self.title}, {factor} times as long",
            validation_target=validation,
            test_target=test,
            budget=self.budget.times(factor),
            horizons={},
        )

    def variant(
        self,
        name: str,
        title: str,
        *,
        validation_target: float,
        test_target: float | None,
        parameter_count: int | None = None,
        parameter_kinds: Callable[[Any], Mapping[str, Mapping[str, int]]] | None = None,
        initial_loss: tuple[float, float] | None = None,
        small_switches: Mapping[str, Any] | None = None,
        reference_batch_size: int | None = None,
        eval_batch_size: int | None = None,
        **model_switches: Any,
    ) -> "WorkloadDefinition":
        """Returns a definition of the same data with `model_switches`, fields of `model`, set to other values.

        What is None stays as it is here, and the conformance suite fails if the variant's model does not satisfy it.

        Args:
          name, title, validation_target, test_target: of the variant.
          parameter_count, initial_loss: see `ConformanceSpec`.
          parameter_kinds: gives the kinds of a model; called with the variant's.
          small_switches: what differs at test size; None means `model_switches`.
          reference_batch_size, eval_batch_size: where the variant needs others.
        """
        model = dataclasses.replace(self.model, **model_switches)
        small_model = dataclasses.replace(
            self.checks.small_model or self.model, **(model_switches if small_switches is None else small_switches)
        )
        changed = _given(
            parameter_count=parameter_count,
            parameter_kinds=None if parameter_kinds is None else parameter_kinds(model),
            initial_loss=initial_loss,
        )
        return dataclasses.replace(
            self,
            name=name,
            title=title,
            validation_target=validation_target,
            test_target=test_target,
            model=model,
            checks=dataclasses.replace(self.checks, small_model=small_model, **changed),
            sources={key: source for key, source in self.sources.items() if key not in changed},
            **_given(reference_batch_size=reference_batch_size, eval_batch_size=eval_batch_size),
        )

    def mini(
        self,
        title: str,
        *,
        dataset: str,
        validation_target: float,
        test_target: float | None,
        splits: SplitSizes,
        budget: Budget,
        eval_batch_size: int,
        reference_batch_size: int,
        reference_hyperparameters: Mapping[str, Any] | None = None,
        model: Any,
        data: Any,
        checks: ConformanceSpec,
        sources: Mapping[str, str],
        **other_fields: Any,
    ) -> "WorkloadDefinition":
        """Returns the definition of `mini_name`: the same kind of task, small, on data that can be generated anywhere.

        Loss, metrics and default dropout are those of the base unless `other_fields` changes them; everything that has
        to do with size is given anew. `batch_size_scale` is the ratio of the reference batch sizes.
        """
        if self.mini_name is None:
            raise ValueError(f"{self.name}: set mini_name, the name that its mini is to have")
        return dataclasses.replace(
            self,
            name=self.mini_name,
            tier=Tier.MINI,
            title=title,
            dataset=dataset,
            validation_target=validation_target,
            test_target=test_target,
            splits=splits,
            budget=budget,
            later_budgets={},
            eval_batch_size=eval_batch_size,
            reference_batch_size=reference_batch_size,
            reference_hyperparameters=reference_hyperparameters or {},
            batch_size_scale=reference_batch_size / self.reference_batch_size,
            model=model,
            data=data,
            checks=checks,
            mini_name=None,
            sources=sources,
            **other_fields,
        )


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Workloads that are run and scored together.

    Attributes:
      edition: of the rules.
      studies: per ruleset name, the number of studies that the rules ask for.
      rules: the scorer's rule set, a name or a file.
      mini: the suite that stands in where full datasets are missing.
    """

    name: str
    edition: str = V0_6.name
    workloads: tuple[str, ...]
    studies: Mapping[str, int]
    rules: str
    mini: str | None = None


def horizon_name(workload: str, factor: int) -> str:
    """The name of a workload at `factor` times its step hint; its own at 1."""
    return workload if factor == 1 else f"{workload}{_HORIZON_MARK}{factor}"


def split_horizon(name: str) -> tuple[str, int]:
    """The workload and the factor that `horizon_name` made `name` of."""
    workload, mark, factor = name.rpartition(_HORIZON_MARK)
    return (workload, int(factor)) if mark and factor.isdecimal() and int(factor) > 1 else (name, 1)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
