"""What a suite would run, where it falls short of the rules, and which finished trials still count; starts nothing."""

import dataclasses
import enum
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.data.disk_space import format_bytes, free_bytes
from algoperf.dataset_overview import dataset_states
from algoperf.definition import Budget, Suite, WorkloadDefinition
from algoperf.digest import digest_scheme
from algoperf.edition import V0_6
from algoperf.prepare import MissingDatasetError, ensure_prepared
from algoperf.records import json
from algoperf.records.layout import study_folder, trial_folder, trial_path
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.reporting import Report
from algoperf.runner import search_space, step_costs
from algoperf.runner.calibration import AUTO, OFF
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.submissions.loading import locate_submission
from algoperf.submissions.tuning import Hyperparameters, SearchSpace

# Evaluations, checkpoints and logging, seconds for each second of the budget; and building a model, compiling it and
# the final evaluation, seconds. Round figures for estimates and time limits only.
EVALUATION_SHARE = 0.25
SET_UP_S = 30.0
_READ_DIGEST = (
    "import sys; from algoperf.submissions.loading import load_submission; "
    "print(load_submission(sys.argv[1]).source_digest)"
)


class Outdated(enum.StrEnum):
    """What to do with finished trials that the present command would not give: count them, or run them again."""

    KEEP = "keep"
    RERUN = "rerun"


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of one study of one workload.

    Attributes:
      definition: of the workload.
      study: counted from 0.
      trial: counted from 1; 1 under the self-tuning rules.
      folder: of its results.
      budget_s: submission time that it may use, seconds; of a mini, by what is known of this machine.
      hyperparameters: its point; None under the self-tuning rules.
      matmul_precision: that a run is asked for; None does not matter.
    """

    definition: WorkloadDefinition
    study: int
    trial: int
    folder: Path
    budget_s: float
    hyperparameters: Hyperparameters | None
    matmul_precision: str | None = None

    @property
    def label(self) -> str:
        return f"{self.definition.name} {study_folder(self.study)} {trial_folder(self.trial)}"

    @property
    def record(self) -> TrialRecord | None:
        return TrialRecord.read(self.folder)

    @property
    def outcome(self) -> Outcome | None:
        record = self.record
        return record.outcome if record else None

    @property
    def is_finished(self) -> bool:
        outcome = self.outcome
        return outcome is not None and outcome.is_final

    def longest_s(self, *, starts_anew: bool = False) -> float:
        """Upper bound on the wall time that it still takes: the budget, set-up and pauses."""
        record = None if starts_anew else self.record
        spent_s = record.submission_time_s if record else 0.0
        return max(self.budget_s - spent_s, 0.0) * (1 + EVALUATION_SHARE) + SET_UP_S

    def changes(self, submission_digest: str) -> list[str]:
        """What differs between the finished trial and one of now; empty where nothing does.

        Digests of definitions of two schemes cannot be compared, which counts as a difference.
        """
        record = self.record
        if record is None:
            return []
        point = {} if self.hyperparameters is None else json.plain(self.hyperparameters.to_dict())
        definition_digest = self.definition.digest()
        changes = {
            "another version of the submission": record.provenance.get("submission_digest") != submission_digest,
            "another workload definition": record.definition_digest != definition_digest,
            "other hyperparameters": dict(record.hyperparameters) != point,
            f"edition {record.edition}": record.edition != self.definition.edition,
            f"precision {record.matmul_precision}": None not in (record.matmul_precision, self.matmul_precision)
            and record.matmul_precision != self.matmul_precision,
        }
        if digest_scheme(record.definition_digest) != digest_scheme(definition_digest):
            changes["a workload definition that cannot be compared"] = changes.pop("another workload definition")
        return [change for change, is_there in changes.items() if is_there]


@dataclass(frozen=True, kw_only=True)
class SuitePlan:
    """All trials of a suite for one submission.

    Attributes:
      suite: what is run.
      name: of the experiment; the same for every spelling of the submission's path.
      root: folder of the results.
      studies: how many.
      trials_per_study: how many for each workload.
      space: file of the search space; None under the self-tuning rules.
      trials: in the order in which they run.
      shortfalls: where the plan asks for less than the rules, a phrase each.
    """

    suite: Suite
    name: str
    root: Path
    studies: int
    trials_per_study: int
    space: Path | None
    trials: Sequence[PlannedTrial]
    shortfalls: Sequence[str]


def _budget(definition: WorkloadDefinition, config: RunConfig) -> Budget:
    if config.calibration == OFF:
        return definition.budget
    path = step_costs.default_file() if config.calibration == AUTO else Path(config.calibration).expanduser()
    return step_costs.budget_here(definition, config.framework, path)


def make_plan(suite: Suite, config: RunConfig, num_studies: int | None, registry: Registry) -> SuitePlan:
    """The plan of a command; `num_studies` None means as many as the rules ask for.

    Raises:
      SubmissionError: there is no such submission.
      ConfigError, SearchSpaceError: there is no search space for all workloads, or it has too few points.
    """
    rules = config.ruleset
    submission = locate_submission(config.submission_path)
    edition = "" if suite.edition == V0_6.name else f"-{suite.edition}"
    name = config.experiment_name or f"{suite.name}{edition}-{submission.parent.name}-{submission.stem}"
    root = config.experiment_dir.resolve() / name
    studies = num_studies or suite.studies[config.tuning_ruleset]
    trials_per_study = (config.num_tuning_trials if rules.tunable else None) or rules.trials_per_study
    space = search_space.for_suite(config, suite.workloads, submission) if rules.tunable else None
    points = [_points(space, trials_per_study, study) for study in range(studies)]
    definitions = [registry.get(workload).of_edition(suite.edition) for workload in suite.workloads]
    precision = dataclasses.replace(config, edition=suite.edition).precision
    trials = [
        PlannedTrial(
            definition=definition,
            study=study,
            trial=trial,
            folder=root / trial_path(study, definition.name, config.framework, trial),
            budget_s=_budget(definition, config).max_runtime_s * rules.budget_factor,
            hyperparameters=points[study][trial - 1],
            matmul_precision=precision,
        )
        for study in range(studies)
        for definition in definitions
        for trial in range(1, trials_per_study + 1)
    ]
    return SuitePlan(
        suite=suite,
        name=name,
        root=root,
        studies=studies,
        trials_per_study=trials_per_study,
        space=space,
        trials=trials,
        shortfalls=list(_shortfalls(suite, config, studies, trials_per_study)),
    )


def _points(space: Path | None, num_trials: int, study: int) -> Sequence[Hyperparameters | None]:
    return [None] * num_trials if space is None else SearchSpace.load(space).draw(num_trials, study=study)


def _shortfalls(suite: Suite, config: RunConfig, studies: int, trials: int) -> Iterator[str]:
    if trials < config.ruleset.trials_per_study:
        yield f"{trials} of {config.ruleset.trials_per_study} trials in a study"
    if studies < suite.studies[config.tuning_ruleset]:
        yield f"{studies} of {suite.studies[config.tuning_ruleset]} studies"
    if config.max_global_steps is not None:
        yield f"runs end after {config.max_global_steps} steps (--max_global_steps)"
    if config.skip_evals:
        yield "no evaluations (--skip_evals)"


def choose_suite(
    name: str, config: RunConfig, report: Report, *, is_dry_run: bool = False, registry: Registry = REGISTRY
) -> Suite:
    """The suite called `name`, or its mini where a full dataset is missing and `--data` allows it.

    Of the edition asked for, or else of v0.6.

    Raises:
      MissingDatasetError: with `--data=full`, unless it is a dry run, whose plan says what is missing.
    """
    edition = suites(config.edition or V0_6.name)
    suite = edition[name]
    if config.data == "mini" and suite.mini:
        return edition[suite.mini]
    if suite.mini is None or (config.data == "full" and is_dry_run):
        return suite
    try:
        for workload in suite.workloads:
            ensure_prepared(registry.get(workload), config.data_dir, report, registry=registry)
    except MissingDatasetError as error:
        if config.data == "full":
            raise
        report(
            f"{suite.name}: not every full dataset is under {config.data_dir}, so this runs the suite {suite.mini} "
            f"(generated data, its own targets). --data=full insists on the full datasets.\n"
            f"{str(error).splitlines()[0]}"
        )
        return edition[suite.mini]
    return suite


def submission_digest(submission_path: str) -> str:
    """Digest of a submission's source files as they are now, read by a process of its own, which imports it.

    Raises:
      ConfigError: it cannot be imported.
    """
    command = [sys.executable, "-c", _READ_DIGEST, submission_path]
    search_path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        command, check=False, text=True, capture_output=True, env={**os.environ, "PYTHONPATH": search_path}
    )
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ConfigError(f"finished trials cannot be compared with the submission, which cannot be read: {reason}")
    return done.stdout.split()[-1]


def data_lines(suite: Suite, data_dir: Path, registry: Registry) -> Iterator[str]:
    """A line for each dataset of a suite: prepared, generated by the run, or missing, with the space that it needs."""
    states = dataset_states(map(registry.get, suite.workloads), data_dir, registry=registry)
    missing = [state for state in states if not state.is_prepared]
    needed = sum(state.required_bytes or 0 for state in missing)
    yield (
        f"data under {data_dir}: {len(states) - len(missing)} of {len(states)} datasets prepared; to prepare the "
        f"others takes {format_bytes(needed)}, {format_bytes(free_bytes(data_dir))} are free"
    )
    for state in missing:
        how = "generated by the run" if state.is_generated else "missing"
        yield f"  {state.dataset:32s} {how}, {_size(state.required_bytes)}"
    by_hand = [state.workload for state in missing if not state.is_generated]
    if by_hand:
        yield (
            f"the suite runs only with all of them; python -m algoperf.prepare {' '.join(by_hand)} --how_to_get says "
            "where they come from"
        )


def _size(count: int | None) -> str:
    return "size not stated" if count is None else format_bytes(count)
