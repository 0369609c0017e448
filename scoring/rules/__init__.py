"""Rule sets: which workloads count, with which targets and budgets, in how many studies and trials.

A rule set is a TOML file; those of `BUILT_IN` are shipped and a user can write another (docs/scoring.md).
What a file leaves out about a workload comes from the workload's definition. A file with `frozen = true` leaves nothing
out: an edition that is closed, whose board no later definition can change.
"""

import itertools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from algoperf.definition import RULESETS, Direction, MetricSpec, Split, Suite, Tier, WorkloadDefinition, split_horizon
from algoperf.edition import EDITIONS, V0_6, since
from algoperf.records.columns import metric_column
from algoperf.registry import REGISTRY, suites

SCHEMA_VERSION = 1
DEFAULT_STUDIES = 3  # AlgoPerf v0.6
BUILT_IN = (
    "v0.5",
    "v0.6",
    "v1.0",
    "qualification",
    "qualification-v1.0",
    "mini",
    "mini-v1.0",
    "mini_qualification",
    "mini_qualification-v1.0",
    "mini_horizon3",
)
# Of sets that follow today's definitions.
FROZEN_COPIES = ("mini-2026-11", "mini-2026-11-27", "mini_qualification-2026-11")
RULE_SETS = (*BUILT_IN, *FROZEN_COPIES)
_TOP_LEVEL_KEYS = frozenset(
    {
        "schema_version",
        "name",
        "description",
        "edition",
        "frozen",
        "hardware",
        "suite",
        "base_workloads",
        "held_out",
        "profile",
        *RULESETS,
        "workloads",
        "ladders",
    }
)
_REQUIRED_KEYS = frozenset({"metric", "direction", "validation_target", "max_runtime_s", "step_hint"})
_WORKLOAD_KEYS = _REQUIRED_KEYS | {"test_target", "eval_period_s", "max_runtime_steps", "definition_digests"}


class RulesError(ValueError):
    """A rule set cannot be found, read or completed."""


@dataclass(frozen=True, kw_only=True)
class WorkloadRule:
    """What scoring needs to know of a workload.

    Attributes:
      max_runtime_s: budget in seconds before the tuning ruleset's factor.
      eval_period_s: seconds between evaluations; None where the rules do not say.
      max_runtime_steps: budget in reference steps, before the factor; None where budgets are of seconds.
      definition_digests: of the definitions that count as this workload, at most one of each scheme; none: any does.
      rungs: easier validation targets, each harder than the one before, of a ladder whose last rung is the official
        target; empty where the rules have no ladder.
    """

    name: str
    base: str
    metric: MetricSpec
    validation_target: float
    test_target: float | None
    max_runtime_s: float
    step_hint: int
    eval_period_s: float | None = None
    max_runtime_steps: int | None = None
    definition_digests: tuple[str, ...] = ()
    rungs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.max_runtime_s > 0:
            raise RulesError(f"{self.name}: max_runtime_s must be positive, got {self.max_runtime_s}")
        steps = itertools.pairwise((*self.rungs, self.validation_target))
        if not all(self.metric.better(harder, easier) for easier, harder in steps):
            raise RulesError(
                f"{self.name}: expected rungs of a ladder from easy to hard, all easier than the validation target "
                f"{self.validation_target}, got {list(self.rungs)}; see `python -m algoperf.target_setting --ladders`"
            )

    @property
    def validation_column(self) -> str:
        return metric_column(Split.VALIDATION, self.metric.name)

    @property
    def test_column(self) -> str:
        return metric_column(Split.TEST, self.metric.name)


@dataclass(frozen=True, kw_only=True)
class TuningRule:
    """Studies of a submission, trials of a study, and the factor on each workload's budget."""

    name: str
    studies: int
    trials_per_study: int
    budget_factor: float

    def __post_init__(self) -> None:
        if self.studies < 1 or self.trials_per_study < 1 or not self.budget_factor > 0:
            raise RulesError(f"studies, trials and budget factor must be positive, got {self}")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What the rules have runs made on: part of the GPU's name, and how many."""

    gpu: str
    gpu_count: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A rule set.

    Attributes:
      name, description: for tables.
      base_workloads: names that enter the score, sorted.
      held_out: held-out workload -> its base workload. A base time counts only if the held-out time does.
      workloads: every workload that may appear in logs (base, held-out and others known), by name.
      tuning: the tuning rule by name, `external` and `self`.
      edition: of AlgoPerf's rules, which runs must have been made under; None where the rule set does not say.
      tau_max: upper limit of the performance profile; its lower limit is 1.
      cutoff_factor: a time above this multiple of the fastest counts as a miss.
      hardware: None where the rules do not say.
      clock: what budgets and times are in: seconds, reference steps ("reference", "projected") or steps; see
        `scoring.clocks`.
      in_seconds: these rules before they were converted to another clock.
      stated: the rules as they are stated, where runs are scored by the budgets that they recorded instead.
    """

    name: str
    description: str
    base_workloads: tuple[str, ...]
    held_out: Mapping[str, str]
    workloads: Mapping[str, WorkloadRule]
    tuning: Mapping[str, TuningRule]
    edition: str | None = None
    tau_max: float = 4.0
    cutoff_factor: float = 4.0
    hardware: Hardware | None = None
    stated: "Rules | None" = None
    clock: str = "seconds"
    in_seconds: "Rules | None" = None

    def __post_init__(self) -> None:
        if not self.base_workloads:
            raise RulesError(f"rule set {self.name!r} has no base workloads")
        if not (self.tau_max > 1 and self.cutoff_factor > 1):
            raise RulesError(f"tau_max and cutoff_factor must exceed 1, got {self.tau_max} and {self.cutoff_factor}")
        for held_out, base in self.held_out.items():
            if base not in self.base_workloads:
                raise RulesError(f"held-out workload {held_out!r} names base {base!r}, which is no base workload")
        numbers = {name: len(self.workloads[name].rungs) for name in self.scored_workloads if name in self.workloads}
        if len(set(numbers.values())) > 1:
            raise RulesError(
                f"rule set {self.name!r}: expected equally many rungs on each scored workload, got {numbers}"
            )

    @property
    def scored_workloads(self) -> tuple[str, ...]:
        """Base and held-out workloads, sorted."""
        return tuple(sorted((*self.base_workloads, *self.held_out)))

    @property
    def matmul_precision(self) -> str | None:
        """Of matrix products on accelerators; None where the rules do not say."""
        return None if self.edition is None else EDITIONS[self.edition].matmul_precision

    @property
    def has_ladder(self) -> bool:
        """Whether the scored workloads have rungs before their official targets."""
        return any(self.workloads[name].rungs for name in self.scored_workloads)

    @property
    def unit(self) -> str:
        """What times are in, in words."""
        units = {"reference": "reference steps", "projected": "projected reference steps"}
        return units.get(self.clock, self.clock)

    def with_counts(self, *, studies: int | None, trials: int | None) -> "Rules":
        """The same rules with other numbers of studies and trials per study (None keeps the number)."""
        tuning = {
            name: replace(rule, studies=studies or rule.studies, trials_per_study=trials or rule.trials_per_study)
            for name, rule in self.tuning.items()
        }
        return replace(self, tuning=tuning)


def load_rules(name_or_path: str, *, definitions: Callable[[], list[WorkloadDefinition]] | None = None) -> Rules:
    """Reads a rule set by name (`BUILT_IN`, `FROZEN_COPIES`) or from a TOML file.

    `definitions` returns the known workload definitions; the registry serves by default.
    Raises RulesError when the set is unknown, malformed, or names a workload that neither the file nor a
    definition describes.
    """
    raw = _parse(name_or_path)
    _check_top_level(name_or_path, raw)
    try:
        edition = raw.get("edition")
        known, registry_problem = _known_workloads(definitions or REGISTRY.definitions, edition)
        held_out = dict(sorted(raw.get("held_out", {}).items()))
        suite = _suite(raw["suite"], edition or V0_6.name) if "suite" in raw else None
        base_workloads = tuple(sorted(raw["base_workloads"] if suite is None else suite.workloads))
        studies = {} if suite is None else suite.studies
        workloads = dict(known) | _at_horizons(base_workloads)
        for name, entry in raw.get("workloads", {}).items():
            workloads[name] = _workload_rule(name, held_out.get(name, name), entry, known.get(name))
        _add_ladders(name_or_path, workloads, raw.get("ladders", {}))
        missing = [name for name in (*base_workloads, *held_out) if name not in workloads]
        if missing:
            raise RulesError(
                f"no targets and budgets for {', '.join(missing)}: neither a [workloads.<name>] table nor a workload "
                f"definition describes them{registry_problem}"
            )
        return Rules(
            name=str(raw["name"]),
            description=str(raw.get("description", "")),
            base_workloads=base_workloads,
            held_out=held_out,
            workloads=workloads,
            edition=edition,
            tuning={name: _tuning_rule(name, raw.get(name, {}), studies.get(name)) for name in RULESETS},
            hardware=Hardware(**raw["hardware"]) if "hardware" in raw else None,
            **_profile(raw.get("profile", {})),
        )
    except KeyError as error:
        raise RulesError(f"{name_or_path}: the key {error} is missing") from error
    except RulesError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise RulesError(f"{name_or_path}: a value has the wrong kind: {error}") from error


def _check_top_level(name: str, raw: Mapping[str, Any]) -> None:
    unknown = set(raw) - _TOP_LEVEL_KEYS
    if unknown:
        raise RulesError(f"{name}: unknown keys {sorted(unknown)}; known are {sorted(_TOP_LEVEL_KEYS)}")
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise RulesError(f"{name}: expected schema_version = {SCHEMA_VERSION}, got {raw.get('schema_version')}")
    if raw.get("edition") not in (None, *EDITIONS):
        raise RulesError(f"{name}: expected an edition among {', '.join(EDITIONS)}, got {raw['edition']}")
    if raw.get("frozen"):
        _check_frozen(name, raw)


def _add_ladders(name: str, workloads: dict[str, WorkloadRule], ladders: Mapping[str, Sequence[float]]) -> None:
    unknown = sorted(set(ladders) - set(workloads))
    if unknown:
        raise RulesError(f"{name}: [ladders] has rungs of {', '.join(unknown)}, which nothing else describes")
    for workload, rungs in ladders.items():
        workloads[workload] = replace(workloads[workload], rungs=tuple(map(float, rungs)))


def _profile(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value) for key, value in entry.items()}


def _check_frozen(name: str, raw: Mapping[str, Any]) -> None:
    """Raises RulesError when a frozen set leaves something to definitions, which may change."""
    if "suite" in raw:
        raise RulesError(f"{name}: a frozen rule set lists its base_workloads and names no suite")
    listed = raw.get("workloads", {})
    for workload in (*raw.get("base_workloads", ()), *raw.get("held_out", {})):
        missing = sorted(_REQUIRED_KEYS - set(listed.get(workload, {})))
        if missing:
            raise RulesError(f"{name}: a frozen rule set states everything; [workloads.{workload}] lacks {missing}")
    for ruleset in RULESETS:
        missing = sorted({"studies", "trials_per_study", "budget_factor"} - set(raw.get(ruleset, {})))
        if missing:
            raise RulesError(f"{name}: a frozen rule set states everything; [{ruleset}] lacks {missing}")


def _parse(name_or_path: str) -> dict[str, Any]:
    if name_or_path in RULE_SETS:
        text = resources.files(__package__).joinpath(f"{name_or_path}.toml").read_text(encoding="utf-8")
    else:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise RulesError(
                f"no rule set {name_or_path!r}: expected one of {', '.join(RULE_SETS)}, or the path of a TOML file"
            )
        text = path.read_text(encoding="utf-8")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{name_or_path} is not valid TOML: {error}") from error


def _known_workloads(
    definitions: Callable[[], list[WorkloadDefinition]], edition: str | None
) -> tuple[dict[str, WorkloadRule], str]:
    """Rules from definitions, of the workloads that the edition has.

    One broken workload package must not keep logs of others from being scored.
    """
    try:
        known = definitions()
    except Exception as error:
        return {}, f" (the workload definitions could not be read: {error})"
    if edition is not None:
        known = [d.of_edition(edition) for d in known if edition in since(d.edition)]
    return {d.name: rule_of_definition(d) for d in known}, ""


def _at_horizons(names: Sequence[str]) -> dict[str, WorkloadRule]:
    """Rules of the workloads that are others at a longer horizon, which the registry makes when asked for."""
    return {name: rule_of_definition(REGISTRY.get(name)) for name in names if split_horizon(name)[1] != 1}


def rule_of_definition(definition: WorkloadDefinition) -> WorkloadRule:
    """What a workload's definition says to a rule set."""
    # a mini falls back to its base's batch size, but is no variant of it: it held_out nothing
    is_mini = definition.tier is Tier.MINI
    return WorkloadRule(
        name=definition.name,
        base=definition.name if is_mini else definition.base,
        metric=definition.metric,
        validation_target=definition.validation_target,
        test_target=definition.test_target,
        max_runtime_s=definition.budget.max_runtime_s,
        step_hint=definition.budget.step_hint,
        eval_period_s=definition.budget.eval_period_s,
        max_runtime_steps=getattr(definition.budget, "max_runtime_steps", None),
        definition_digests=(definition.digest(),),
    )


def _workload_rule(name: str, base: str, entry: Mapping[str, Any], known: WorkloadRule | None) -> WorkloadRule:
    unknown = set(entry) - _WORKLOAD_KEYS
    if unknown:
        raise RulesError(f"[workloads.{name}] has unknown keys {sorted(unknown)}; known are {sorted(_WORKLOAD_KEYS)}")
    if known is None and not set(entry) >= _REQUIRED_KEYS:
        raise RulesError(
            f"[workloads.{name}] lacks {sorted(_REQUIRED_KEYS - set(entry))} and no definition declares it"
        )
    declared = {"metric": known.metric.name, "direction": known.metric.direction} if known else {}
    merged = declared | dict(entry)
    metric = MetricSpec(name=merged["metric"], direction=Direction(merged["direction"]))
    # an entry that states everything owes nothing to a definition, which may change
    inherited = None if set(entry) >= _REQUIRED_KEYS else known
    plain_keys = _WORKLOAD_KEYS - {"metric", "direction", "definition_digests"}
    fields = {key: entry.get(key, getattr(inherited, key, None)) for key in plain_keys}
    fields["definition_digests"] = tuple(entry.get("definition_digests", ()))
    return WorkloadRule(name=name, base=base if known is None else known.base, metric=metric, **fields)


def _suite(name: str, edition: str) -> Suite:
    known = suites(edition)
    if name not in known:
        raise RulesError(f"there is no suite {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def _tuning_rule(name: str, entry: Mapping[str, Any], studies: int | None) -> TuningRule:
    defaults = RULESETS[name]
    return TuningRule(
        name=name,
        studies=int(entry.get("studies", studies or DEFAULT_STUDIES)),
        trials_per_study=int(entry.get("trials_per_study", defaults.trials_per_study)),
        budget_factor=float(entry.get("budget_factor", defaults.budget_factor)),
    )
