"""The trials of one call of the runner: imports the submission, runs its trials in turn, and records how each ended."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from algoperf import prepare, prepared_data
from algoperf.backends.base import Backend, model_module
from algoperf.definition import WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness import seeds
from algoperf.harness.failure import LoopResult, result_of, traceback_text
from algoperf.harness.guards import Guard
from algoperf.harness.pauses import OwnWork
from algoperf.harness.pinned_code import PinnedCode
from algoperf.harness.ranks import RankWatch
from algoperf.harness.signals import StopSignals
from algoperf.records import json
from algoperf.records.layout import (
    HYPERPARAMETERS_FILE,
    SEED_FILE,
    ExperimentPaths,
    delete_trials,
    open_experiment_dir,
)
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord
from algoperf.registry import Registry
from algoperf.reporting import Report
from algoperf.runner.calibration import OFF, Calibrator, calibrator_for, stated_calibrator
from algoperf.runner.isolated.isolation import Import, Isolation
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.runner.trial import run_trial
from algoperf.runner.trial_end import TrialEnd, TrialPlan, TrialResult, TrialSettings
from algoperf.runner.trial_lock import lock_trials
from algoperf.runner.trial_run_file import write_run_file
from algoperf.submissions import sources as submission_sources
from algoperf.submissions.loading import Submission, SubmissionCrashError, load_submission, resolve_batch_size
from algoperf.submissions.tuning import Hyperparameters

_SEED = "seed"


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A submission that is ready to train, with its data prepared, and what had been started and loaded before it."""

    submission: Submission
    batch_size: int
    own_work: OwnWork
    pinned_code: PinnedCode
    guard: Guard
    calibrator: Calibrator | None = None
    isolation: Isolation | None = None


@dataclass(frozen=True, kw_only=True)
class _Import:
    """What the import of the submission gave, or how it ended, and the seconds that it took."""

    answer: _Loaded | LoopResult
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """The selected trials of one workload.

    Attributes:
      config: of the call.
      submission_path: file of the submission.
      points: of every trial, selected or not; None under the self-tuning rules.
      seed: of the run; each trial has its own.
    """

    config: RunConfig
    registry: Registry
    definition: WorkloadDefinition
    submission_path: Path
    points: list[Hyperparameters | None] = field(default_factory=list)
    seed: int

    @property
    def trials(self) -> range:
        """Numbers of the selected trials, from 1."""
        first, last = self.config.trial_range
        return range(first + 1, last + 1)

    def run(self, backend: Backend, report: Report, stop: StopSignals, watch: RankWatch) -> list[TrialResult]:
        """Runs the trials that are not finished; returns the results of all. A trial that a signal ends is the last.

        Raises:
          UserError: the request cannot be run, or the disk or the data fail.
        """
        with stop.deferred(), self._open_experiment(backend, report) as paths, contextlib.ExitStack() as cleanup:
            imported = self._import(backend, report, stop)
            if isinstance(imported.answer, _Loaded):
                if imported.answer.calibrator is not None:
                    cleanup.callback(imported.answer.calibrator.close)
                if imported.answer.isolation is not None:
                    cleanup.callback(imported.answer.isolation.close)
            import_s = imported.seconds  # in the ledger of the first trial that runs
            if self.config.overwrite and backend.rank == 0:
                delete_trials(paths, self.trials)
            backend.barrier()
            results: list[TrialResult] = []
            for number in self.trials:
                result = finished_result(paths.trial_dir(number), is_shown=backend.rank == 0)
                if result is not None:
                    report(self._finished_line(result, self.points[number - 1]))
                else:
                    settings = self._settings(paths.trial_dir(number), number, import_s, backend)
                    result = self._run_trial(settings, number, imported.answer, backend, report, stop, watch)
                    import_s = 0.0
                results.append(result)
                if result.outcome is Outcome.INTERRUPTED or result.has_lost_ranks:
                    break
            return results

    @contextlib.contextmanager
    def _open_experiment(self, backend: Backend, report: Report) -> Iterator[ExperimentPaths]:
        """Rank 0 makes the folders and locks the trials; a refusal is raised on every rank."""
        with contextlib.ExitStack() as locks:
            answer: ExperimentPaths | Exception | None = None
            if backend.rank == 0:
                try:
                    answer = self._make_folders(lambda paths: lock_trials(paths, self.trials, locks, report))
                except Exception as error:
                    answer = error
            answer = backend.broadcast_object(answer)
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, ExperimentPaths)
            yield answer

    def _make_folders(self, claim: Callable[[ExperimentPaths], None]) -> ExperimentPaths:
        config = self.config
        return open_experiment_dir(
            config.experiment_dir,
            config.experiment_name,
            workload=self.definition.name,
            framework=config.framework,
            overwrite=config.overwrite,
            resume=config.resume_last_run,
            append_timestamp=config.append_timestamp,
            trials=self.trials,
            claim=claim,
        )

    def _import(self, backend: Backend, report: Report, stop: StopSignals) -> _Import:
        """Imports the submission and prepares the data. What fails on one rank fails on all.

        Raises:
          UserError: the submission lacks a function, or the data cannot be prepared.
        """
        answer: _Loaded | LoopResult | UserError
        own_work, (pinned_code, guard) = OwnWork(), self._pinned_code(backend)
        begun_s, seconds = time.monotonic(), None
        try:
            with stop.interrupting():
                answer = self._load(backend, report, own_work, pinned_code, guard)
                isolation = answer.isolation
                seconds = time.monotonic() - begun_s if isolation is None else isolation.import_s
                if backend.rank == 0:
                    prepare.ensure_prepared(
                        self.definition, self.config.data_dir, report=report, registry=self.registry
                    )
        except SubmissionCrashError as error:
            answer = LoopResult(outcome=Outcome.CRASHED, error=traceback_text(error.__cause__ or error))
        except UserError as error:
            answer = error
        except BaseException as error:
            answer = result_of(error, backend, stop) or LoopResult(outcome=Outcome.CRASHED)
        if seconds is None:
            seconds = time.monotonic() - begun_s
        failures = backend.gather_objects(None if isinstance(answer, _Loaded) else answer)
        answer = next((failure for failure in failures if failure is not None), answer)
        if isinstance(answer, UserError):
            raise answer
        return _Import(answer=answer, seconds=seconds)

    def _load(
        self, backend: Backend, report: Report, own_work: OwnWork, pinned_code: PinnedCode, guard: Guard
    ) -> _Loaded:
        definition = self.definition
        config = self.config
        calibrator = calibrator_for(
            definition,
            backend.framework,
            calibration=config.calibration if config.step_costs is None else OFF,
            data_dir=config.data_dir,
            matmul_precision=config.precision,
            device_report=backend.device_report(),
            world_size=backend.world_size,
            report=report,
        )
        isolation = self._isolation(report) if config.isolated else None
        if isolation is not None:
            submission, batch_size = isolation.load()
        else:
            submission = load_submission(config.submission_path)
            batch_size = resolve_batch_size(submission, definition, backend.num_devices)
        if config.step_costs is not None:
            calibrator = stated_calibrator(
                definition,
                backend.framework,
                config.step_costs,
                submission_digest=submission.source_digest,
                world_size=backend.world_size,
                report=report,
            )
        if submission.has_eval_batch_size:
            report(
                "warning: get_eval_batch_size is ignored; the benchmark fixes the evaluation batch size "
                f"({definition.eval_batch_size} for {definition.name})"
            )
        return _Loaded(
            submission=submission,
            batch_size=batch_size,
            own_work=own_work,
            pinned_code=pinned_code,
            guard=guard,
            calibrator=calibrator,
            isolation=isolation,
        )

    def _isolation(self, report: Report) -> Isolation:
        """Hides what the submission is not to see, which is all there before its process begins."""
        config = self.config
        prepare.ensure_prepared(self.definition, config.data_dir, report=report, registry=self.registry)
        job = Import(config=config, registry=self.registry, definition=self.definition, seed=self.seed)
        folders = [config.data_dir, config.imagenet_v2_data_dir, config.experiment_dir]
        return Isolation(job, self.submission_path, [folder for folder in folders if folder is not None])

    def _pinned_code(self, backend: Backend) -> tuple[PinnedCode, Guard]:
        """Loads what evaluations need, before a submission can change it, and what sees that it does."""
        names = ("data", "metrics", model_module(backend.framework))
        data, metrics, model = (self.registry.module(self.definition.name, name) for name in names)
        modules = {data.__name__, metrics.__name__, model.__name__}
        modules |= {cls.__module__ for cls in type(model.build(self.definition)).__mro__}
        packages = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
        own = sorted({"algoperf", *packages})
        code = PinnedCode(sorted({*own, *backend.evaluation_packages}))
        return code, Guard(code, own)

    def _run_trial(
        self,
        settings: TrialSettings,
        number: int,
        loaded: _Loaded | LoopResult,
        backend: Backend,
        report: Report,
        stop: StopSignals,
        watch: RankWatch,
    ) -> TrialResult:
        shared = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
        plan = None
        if isinstance(loaded, _Loaded):
            data_digest = prepared_data.data_digest(self.definition, self.config.data_dir)
            plan = TrialPlan(**shared, **vars(loaded), data_digest=data_digest)
        if backend.rank == 0:
            _write_trial_inputs(plan or settings, report)
            if settings.seed == self._trial_seed(number):  # else no seed of a run gives it
                write_run_file(plan or settings, run_seed=self.seed)
            report(
                f"trial {number} of {self.trials[-1]}: {self.definition.name}, {backend.framework}, "
                f"{settings.hyperparameters or 'self-tuning'}"
            )
        backend.barrier()
        if plan is not None:
            return run_trial(plan, backend, report, stop, watch)
        assert isinstance(loaded, LoopResult)
        return TrialEnd(settings, backend, settings.new_clock(backend)).write(loaded)

    def _finished_line(self, result: TrialResult, point: Hyperparameters | None) -> str:
        record = result.record
        drawn = {} if point is None else json.plain(point.to_dict())
        differs = " with other hyperparameters than this run draws" * (dict(record.hyperparameters) != drawn)
        differs += f" under the rules of {record.edition}" * (record.edition != self.definition.edition)
        differs += f" in {record.matmul_precision}" * (record.matmul_precision not in (None, self.config.precision))
        warning = "warning: " * bool(differs)
        return f"{warning}{result.trial_dir} is finished ({result.outcome}){differs}; not run again"

    def _settings(self, trial_dir: Path, number: int, import_s: float, backend: Backend) -> TrialSettings:
        return TrialSettings(
            config=self.config,
            registry=self.registry,
            definition=self.definition,
            submission_path=self.submission_path,
            hyperparameters=self.points[number - 1],
            seed=_recorded_seed(trial_dir, self._trial_seed(number), backend),
            trial_dir=trial_dir,
            import_submission_s=import_s,
        )

    def _trial_seed(self, number: int) -> int:
        return seeds.trial_seed(self.seed, study=self.config.study_index, trial=number - 1)


def finished_result(trial_dir: Path, *, is_shown: bool) -> TrialResult | None:
    """The result of a trial that is not run again; None where it has not finished."""
    record = TrialRecord.read(trial_dir)
    if record is None or not record.outcome.is_final:
        return None
    return TrialResult(outcome=record.outcome, trial_dir=trial_dir, record=record, is_shown=is_shown)


def _recorded_seed(trial_dir: Path, drawn: int, backend: Backend) -> int:
    """The seed that the trial started with, where it was started before; else the drawn one."""
    path = trial_dir / SEED_FILE
    seed = json.read(path)[_SEED] if backend.rank == 0 and path.is_file() else drawn
    return int(backend.broadcast_object(seed))


def _write_trial_inputs(settings: TrialSettings, report: Report) -> None:
    """Records what the trial starts with before its first step, so that a resumed process continues the same trial.

    A submission may be fixed in between; what changed is reported and recorded.
    """
    trial_dir = settings.trial_dir
    trial_dir.mkdir(parents=True, exist_ok=True)
    json.write(trial_dir / SEED_FILE, {_SEED: settings.seed})
    if settings.hyperparameters is not None:
        _write_hyperparameters(settings)
    if not isinstance(settings, TrialPlan):
        return
    changed = submission_sources.record_version(trial_dir, settings.submission.source_files)
    if changed:
        report(
            f"warning: {', '.join(changed)} changed since {trial_dir} was started or last resumed; "
            "it continues with the submission as it is now, and trial.json records both"
        )


def _write_hyperparameters(settings: TrialSettings) -> None:
    path = settings.trial_dir / HYPERPARAMETERS_FILE
    values = settings.hyperparameters.to_dict()
    if path.is_file() and json.read(path) != json.plain(values):
        raise ConfigError(
            f"{path} holds other hyperparameters than this run draws; resume with the search space and study of the "
            "first run, or choose another --experiment_name"
        )
    json.write(path, values)
