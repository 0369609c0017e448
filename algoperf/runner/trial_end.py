"""How a trial gets its record: `trial.json` is written at every typed end, before anything else is tidied up."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf import __version__
from algoperf.backends.base import Backend
from algoperf.definition import Split, WorkloadDefinition
from algoperf.harness.clock import Clock, Item, StepCostClock
from algoperf.harness.cost_meter import CostMeter
from algoperf.harness.failure import LoopResult
from algoperf.harness.guards import Guard
from algoperf.harness.pauses import OwnWork
from algoperf.harness.pinned_code import PinnedCode
from algoperf.harness.rank_times import RankTimes
from algoperf.harness.ranks import BrokenRanks
from algoperf.harness.run_state import RunState
from algoperf.records import json, provenance
from algoperf.records.best import best_of
from algoperf.records.columns import SCORE, metric_column
from algoperf.records.cost import Cost
from algoperf.records.outcome import Outcome
from algoperf.records.trial import BestValidation, Ledger, TrialRecord
from algoperf.registry import Registry
from algoperf.runner.calibration import Calibrator
from algoperf.runner.compilation_cache import CompilationCache
from algoperf.runner.isolated.isolation import Isolation
from algoperf.runner.run_config import RunConfig
from algoperf.runner.trial_calibration import TrialCalibration
from algoperf.submissions import sources as submission_sources
from algoperf.submissions.loading import Submission


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What is known of a trial before its submission is imported.

    Attributes:
      submission_path: the file of the submission.
      hyperparameters: the point of the search space; None under the self-tuning rules.
      import_submission_s: seconds of this process that the import took and no other trial's ledger has.
    """

    config: RunConfig
    registry: Registry
    definition: WorkloadDefinition
    submission_path: Path
    hyperparameters: Any
    seed: int
    trial_dir: Path
    import_submission_s: float = 0.0

    def new_clock(self, backend: Backend, meter: CostMeter | None = None) -> Clock:
        return Clock(**self._clock_settings(backend, meter))

    def _clock_settings(self, backend: Backend, meter: CostMeter | None) -> dict[str, Any]:
        return {
            "fence": backend.fence,
            "max_over_ranks": backend.max_over_ranks,
            "earlier_s": {Item.IMPORT_SUBMISSION: self.import_submission_s},
            "observe": None if meter is None else meter.switch,
        }

    def component(self, name: str) -> Any:
        return self.registry.module(self.definition.name, name)


@dataclass(frozen=True, kw_only=True)
class TrialPlan(TrialSettings):
    """Everything that is decided before a trial starts.

    Attributes:
      own_work: made before the import of the submission, to know the benchmark's own threads and processes.
      pinned_code: what evaluations use, as it was before the import of the submission.
      guard: looks at every pause for what the submission changed; None looks for nothing.
      data_digest: of the prepared data, for the record.
      calibrator: measures reference steps; None where budgets stay in seconds.
      isolation: runs the submission in a process of its own; None runs it in this one.
    """

    submission: Submission
    batch_size: int
    own_work: OwnWork = field(default_factory=OwnWork)
    pinned_code: PinnedCode | None = None
    guard: Guard | None = None
    data_digest: str | None = None
    calibrator: Calibrator | None = None
    isolation: Isolation | None = None

    def cpu_s(self) -> float:
        """CPU seconds so far of the process or processes that work on the trial."""
        return time.process_time() + (self.isolation.cpu_s() if self.isolation is not None else 0.0)

    def new_clock(self, backend: Backend, meter: CostMeter | None = None) -> Clock:
        """Of time that passes, or of stated costs."""
        if self.calibrator is None or (cost := self.calibrator.charged) is None:
            return super().new_clock(backend, meter)
        return StepCostClock(
            step_s=cost.ratio * cost.reference_step_s,
            prepare_for_eval_s=cost.prepare_for_eval * cost.reference_step_s,
            **self._clock_settings(backend, meter),
        )

    @property
    def data_dirs(self) -> dict[Split, Path]:
        config = self.config
        dirs = dict.fromkeys(Split, config.data_dir)
        if config.imagenet_v2_data_dir is not None:
            dirs[Split.TEST] = config.imagenet_v2_data_dir
        return dirs


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What `trial.json` says, for the summary at the end of the command; of several processes one shows it.

    After `has_lost_ranks` the process must end without waiting for the others.
    """

    outcome: Outcome
    trial_dir: Path
    record: TrialRecord
    is_shown: bool
    has_lost_ranks: bool = False


class TrialEnd:
    """Writes the record of one trial. Made at the trial's start, so that at its end nothing has to be looked up.

    Attributes:
      run_state: the state of the trial once it is built and restored; before, the record keeps what an earlier process
        of the same trial has recorded.
      rank_times: of this process's evaluations.
      calibration: the reference steps that were measured beside the trial.
    """

    def __init__(self, settings: TrialSettings, backend: Backend, clock: Clock, meter: CostMeter | None = None) -> None:
        self.run_state: RunState | None = None
        self.calibration: TrialCalibration | None = None
        self.rank_times = RankTimes()
        self.compilation_cache: CompilationCache | None = None
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._meter = meter
        self._earlier = TrialRecord.read(settings.trial_dir) if backend.rank == 0 else None
        self._provenance = self._collect_provenance()

    def write(self, result: LoopResult, *, broken: BrokenRanks | None = None) -> TrialResult:
        """Writes `trial.json`; of several processes one does, rank 0 or the first that is left."""
        is_writer = self._backend.rank == 0 if broken is None else broken.is_writer
        record = self._record(result)
        if is_writer:
            record.write(self._settings.trial_dir)
            if self.compilation_cache is not None and result.outcome.is_final:
                self.compilation_cache.close()
        return TrialResult(
            outcome=result.outcome,
            trial_dir=self._settings.trial_dir,
            record=record,
            is_shown=is_writer,
            has_lost_ranks=broken is not None,
        )

    def _record(self, result: LoopResult) -> TrialRecord:
        if self.run_state is None and self._earlier is not None:
            return dataclasses.replace(self._earlier, outcome=result.outcome, error=result.error)
        settings, clock, state = self._settings, self._clock, self.run_state
        calibration, definition, factor = self.calibration, settings.definition, settings.config.ruleset.budget_factor
        time_to_target_s = None
        if (best := _best(definition, state.training.eval_results if state else [])) is not None:
            time_to_target_s = best.time_to_target_s
        return TrialRecord(
            outcome=result.outcome,
            error=result.error,
            workload=definition.name,
            framework=self._backend.framework,
            definition_digest=definition.digest(),
            submission=str(settings.submission_path),
            ruleset=settings.config.tuning_ruleset,
            budget_s=(calibration.budget if calibration else definition.budget).max_runtime_s * factor,
            edition=definition.edition,
            matmul_precision=settings.config.precision,
            algoperf_version=__version__,
            seed=settings.seed,
            batch_size=settings.batch_size if isinstance(settings, TrialPlan) else None,
            hyperparameters=hyperparameter_dict(settings.hyperparameters),
            global_step=state.training.global_step if state else 0,
            preemption_count=state.preemption_count if state else 0,
            submission_time_s=clock.submission_time_s(),
            best_validation=best,
            ledger=Ledger.of(clock.ledger_s()),
            calibration=None
            if calibration is None
            else calibration.record(submission_time_s=clock.submission_time_s(), time_to_target_s=time_to_target_s),
            pauses=state.pauses.summary if state else None,
            cost=self._cost(time_to_target_s),
            provenance=self._final_provenance(),
        )

    def _cost(self, time_to_target_s: float | None) -> Cost | None:
        """Of all processes of the trial that left a record; None where this one measures nothing."""
        if self._meter is None:
            return None
        settings, state, submission_time_s = self._settings, self.run_state, self._clock.submission_time_s()
        examples = state.training.global_step * settings.batch_size if state and isinstance(settings, TrialPlan) else 0
        peaks = [peak for peak in self._backend.device_report().get("peak_memory_bytes", ()) if peak is not None]
        cost = self._meter.cost(
            time_to_target_s=time_to_target_s,
            examples_per_s=examples / submission_time_s if submission_time_s > 0 else None,
            device_peak_bytes=max(peaks, default=None),
        )
        earlier = self._earlier.cost if self._earlier is not None else None
        return cost if earlier is None else cost.after(earlier)

    def _collect_provenance(self) -> dict[str, Any]:
        settings = self._settings
        extra: dict[str, Any] = {}
        if isinstance(settings, TrialPlan):
            extra = {
                "submission_digest": settings.submission.source_digest,
                "submission_digests": submission_sources.recorded_digests(settings.trial_dir),
                "submission_files": settings.submission.source_files,
                "data_digest": settings.data_digest,
            }
        return provenance.collect(
            device_report=self._backend.device_report(),
            definition=settings.definition,
            seed=settings.seed,
            extra=extra,
        )

    def _final_provenance(self) -> dict[str, Any]:
        """With the devices as they are now: their peak memory is known at the end only."""
        hardware = self._provenance["hardware"]
        devices = json.plain(self._backend.device_report(), unknown=str)
        return {**self._provenance, "hardware": {**hardware, "devices": devices}, "ranks": self.rank_times.record()}


def _best(
    definition: WorkloadDefinition, evaluations: Sequence[tuple[int, Mapping[str, float]]]
) -> BestValidation | None:
    """Best validation value and when it, and the target, were first met; None where no value is finite."""
    column = metric_column(Split.VALIDATION, definition.metric.name)
    values = [row[column] for _, row in evaluations]
    best = best_of(values, definition.metric, definition.validation_target)
    if best.index is None:
        return None
    step, row = evaluations[best.index]
    return BestValidation(
        value=values[best.index],
        global_step=step,
        submission_time_s=row[SCORE],
        time_to_target_s=None if best.first_reached is None else evaluations[best.first_reached][1][SCORE],
    )


def hyperparameter_dict(hyperparameters: Any) -> dict[str, Any]:
    return {} if hyperparameters is None else json.plain(hyperparameters)
