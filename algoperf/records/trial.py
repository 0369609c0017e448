"""The file `trial.json`: how a trial ended, and where its time went."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from algoperf.edition import V0_6
from algoperf.records import json
from algoperf.records.calibration import Calibration
from algoperf.records.cost import Cost
from algoperf.records.files import RecordError
from algoperf.records.layout import TRIAL_FILE
from algoperf.records.outcome import Outcome
from algoperf.records.pauses import PauseSummary

SCHEMA_VERSION = 6
# Keys, at any depth, that name folders of a machine or may quote them: left out where records are published.
PRIVATE_KEYS = frozenset({"submission", "error", "command", "environment"})


@dataclass(frozen=True, kw_only=True)
class BestValidation:
    """The best validation value of a trial and the first arrival at its target.

    Attributes:
      value: best finite value of the target metric; NaN where a record of version 1 has lost it.
      global_step: of that evaluation.
      submission_time_s: of that evaluation, seconds.
      time_to_target_s: seconds of submission time at the first evaluation that met the target, inclusively; None where
        none did.
    """

    value: float
    global_step: int
    submission_time_s: float
    time_to_target_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Seconds of a trial's wall time by what they went to; the first three are charged to the submission.

    Records up to version 2 have the import and `init_optimizer_state` in `other_s`, and lack the set-up of resumed
    processes.
    """

    data_selection_s: float
    update_s: float
    prepare_for_eval_s: float
    evaluation_s: float
    checkpoint_s: float
    logging_s: float
    import_submission_s: float = 0.0
    init_optimizer_state_s: float = 0.0
    calibration_s: float = 0.0
    other_s: float

    def __post_init__(self) -> None:
        for name, seconds in self.seconds().items():
            if not seconds >= 0:
                raise ValueError(f"the ledger's {name} must be a time >= 0 in seconds, got {seconds}")

    @classmethod
    def of(cls, seconds: Mapping[str, float]) -> Self:
        """From seconds by the names of the clock's items, which lack the `_s`."""
        return cls(**{f"{item}_s": value for item, value in seconds.items()})

    @property
    def total_s(self) -> float:
        return sum(self.seconds().values())

    def seconds(self) -> dict[str, float]:
        """Seconds by the names of the fields, in order."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What `trial.json` holds.

    Attributes:
      outcome: how the trial ended.
      error: traceback of a crash or an out-of-memory error; None otherwise, and in published records.
      workload, framework: what ran.
      definition_digest: of the workload's definition.
      submission: path of the module; None in published records.
      ruleset: tuning rules, `external` or `self`.
      budget_s: submission time that the trial could use, seconds.
      edition: of the rules; `v0.6` in records up to version 4.
      matmul_precision: that was asked for; None in records up to version 4. What devices made of it is in `provenance`.
      algoperf_version: of this package; None in records up to version 4.
      seed, batch_size: of the trial; the batch size is global, and None where the submission ended before it gave one.
      hyperparameters: by name; empty under the self-tuning rules.
      global_step: steps taken.
      preemption_count: how often the trial was resumed.
      submission_time_s: seconds charged to the submission.
      best_validation: None where no evaluation gave a finite value.
      ledger: where the wall time went.
      pauses: what ran beside the benchmark while the clock was paused; None in records up to version 2.
      calibration: reference steps, and the times in them; None where the budget is one of seconds.
      cost: energy, memory, utilisation; None in records up to version 5.
      provenance: hardware, software and code; see `algoperf.records.provenance`.
    """

    outcome: Outcome
    error: str | None = None
    workload: str
    framework: str
    definition_digest: str
    submission: str | None = None
    ruleset: str
    budget_s: float
    edition: str = V0_6.name
    matmul_precision: str | None = None
    algoperf_version: str | None = None
    seed: int
    batch_size: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    global_step: int
    preemption_count: int
    submission_time_s: float
    best_validation: BestValidation | None
    ledger: Ledger
    pauses: PauseSummary | None = None
    calibration: Calibration | None = None
    cost: Cost | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.budget_s > 0 or not self.submission_time_s >= 0:
            raise ValueError(
                f"a trial has a budget > 0 and a submission time >= 0, got {self.budget_s} and "
                f"{self.submission_time_s} s"
            )
        if self.global_step < 0 or self.preemption_count < 0 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError(
                f"steps and preemptions are counts and a batch has examples, got {self.global_step}, "
                f"{self.preemption_count} and {self.batch_size}"
            )

    @property
    def time_to_target_s(self) -> float | None:
        """Seconds of submission time until the validation target was met; None where it was not."""
        return self.best_validation.time_to_target_s if self.best_validation is not None else None

    @classmethod
    def read(cls, trial_dir: Path) -> Self | None:
        """Returns the record of a trial; None where there is none (the trial has not ended) or it is damaged.

        Raises:
          RecordError: a later version of this package wrote it.
        """
        values = json.read_if_intact(trial_dir / TRIAL_FILE)
        if values is None:
            return None
        version = values.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise RecordError(
                f"{trial_dir / TRIAL_FILE} has schema version {version}, expected at most {SCHEMA_VERSION}; "
                "install a later version of algoperf"
            )
        try:
            return cls._from_json(upgrade(values))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            return None

    def write(self, trial_dir: Path) -> None:
        """Writes `trial.json`, as a whole or not at all.

        Raises:
          RecorderError: the disk is full or not writable.
          TypeError: a hyperparameter or an entry of the provenance has no JSON form.
        """
        json.write(trial_dir / TRIAL_FILE, {"schema_version": SCHEMA_VERSION, **json.plain(self)})

    @classmethod
    def _from_json(cls, values: Mapping[str, Any]) -> Self:
        fields = {name: value for name, value in values.items() if name != "schema_version"}
        fields["outcome"] = Outcome(fields["outcome"])
        fields["ledger"] = Ledger(**fields["ledger"])
        if fields.get("pauses") is not None:
            fields["pauses"] = PauseSummary.from_json(fields["pauses"])
        if fields.get("calibration") is not None:
            fields["calibration"] = Calibration.from_json(fields["calibration"])
        if fields.get("cost") is not None:
            fields["cost"] = Cost.from_json(fields["cost"])
        best = fields["best_validation"]
        if best is not None:
            fields["best_validation"] = BestValidation(**{**best, "value": _number(best["value"])})
        return cls(**fields)


def upgrade(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `trial.json` of any version in the form of the present one.

    Version 1 left `time_to_target_s` out where the target was missed, wrote NaN, which is no JSON, and kept a NaN of
    the first evaluation as the best value. Unknown entries are left out.

    Raises:
      KeyError, TypeError: it is no record.
    """
    known = {entry.name for entry in dataclasses.fields(TrialRecord)}
    upgraded = {name: value for name, value in values.items() if name in known}
    best = upgraded["best_validation"]
    if values["schema_version"] == 1 and best is not None:
        best = {"time_to_target_s": None, **best, "value": json.plain(best["value"])}
        upgraded["best_validation"] = None if best["value"] is None and best["time_to_target_s"] is None else best
    return {"schema_version": SCHEMA_VERSION, **upgraded}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
