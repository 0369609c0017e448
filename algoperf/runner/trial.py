"""One trial from start to `trial.json`: builds what the loop needs, restores, runs, records."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf import spec
from algoperf.backends import base
from algoperf.backends.base import Backend
from algoperf.data.pipeline import TrainPipeline
from algoperf.data.prefetch import Prefetcher
from algoperf.definition import EVAL_SPLITS, Split, WorkloadDefinition
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.clock import Clock, Item
from algoperf.harness.evaluator import EvaluationObserver, Evaluator
from algoperf.harness.loop import LoopPlan, LoopPorts, LoopResult, TrainingLoop
from algoperf.harness.pauses import OwnWork, PauseMonitor
from algoperf.harness.progress import Progress
from algoperf.harness.run_state import RunState, TrainingState
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.seeds import Seeds
from algoperf.harness.stopping import Stopping
from algoperf.records import json, provenance
from algoperf.records.best import best_of
from algoperf.records.columns import SCORE, metric_column
from algoperf.records.layout import TRACES, flags_file, meta_data_file
from algoperf.records.outcome import Outcome
from algoperf.records.pauses import PauseSummary
from algoperf.records.recorder import NullRecorder, Recorder, ScalarLogger, start_wandb
from algoperf.records.trial import BestValidation, Ledger, TrialRecord
from algoperf.registry import Registry
from algoperf.reporting import Report
from algoperf.runner.run_config import RunConfig
from algoperf.submissions import sources as submission_sources
from algoperf.submissions.loading import Submission


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """Everything that is decided before a trial starts.

    Attributes:
      import_submission_s: seconds of this process that the import took and no other trial's ledger has.
      own_work: made before the import of the submission, to know the benchmark's own threads and processes.
      data_digest: of the prepared data, for the record.
    """

    config: RunConfig
    registry: Registry
    definition: WorkloadDefinition
    submission: Submission
    hyperparameters: Any
    batch_size: int
    seed: int
    trial_dir: Path
    import_submission_s: float = 0.0
    own_work: OwnWork = field(default_factory=OwnWork)
    data_digest: str | None = None

    @property
    def data_dirs(self) -> dict[Split, Path]:
        config = self.config
        dirs = dict.fromkeys(Split, config.data_dir)
        if config.imagenet_v2_data_dir is not None:
            dirs[Split.TEST] = config.imagenet_v2_data_dir
        return dirs

    def component(self, name: str) -> Any:
        return self.registry.module(self.definition.name, name)


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What `trial.json` says, for the summary at the end of the command; of several processes one shows it."""

    outcome: Outcome
    trial_dir: Path
    record: TrialRecord
    is_shown: bool


def run_trial(plan: TrialPlan, backend: Backend, report: Report) -> TrialResult:
    """Runs or resumes one trial and writes its record.

    Failures of the submission (crash, divergence, out of memory) end up in the outcome; mistakes that concern the
    whole command (full disk, unreadable data) are raised.
    """
    clock = Clock(
        fence=backend.fence,
        max_over_ranks=backend.max_over_ranks,
        earlier_s={Item.IMPORT_SUBMISSION: plan.import_submission_s},
    )
    backend.reset_memory()
    seeds = Seeds(backend, plan.seed)
    with contextlib.ExitStack() as cleanup:
        try:
            setup = _build(plan, backend, seeds, clock)
            _check_savable(setup)
            _restore(setup, report)
        except Exception as error:
            if not backend.is_out_of_memory(error):
                raise
            return _finish(plan, backend, clock, LoopResult(outcome=Outcome.OUT_OF_MEMORY, error=str(error)), None, 0)
        recorder, preemptions = setup.recorder, setup.run_state.preemption_count
        with plan.own_work.starting():
            wandb_run = _start_wandb(plan, backend) if plan.config.use_wandb and backend.rank == 0 else None
            recorder.start(preemption_count=preemptions, wandb_run=wandb_run)
        cleanup.callback(recorder.close)
        setup.workload.metrics_logger = ScalarLogger(recorder.append_scalar_metrics)
        _write_metadata(plan, backend, setup.workload, preemptions)
        setup.input_queue.start()
        cleanup.callback(setup.input_queue.close)
        progress = Progress(plan.definition, setup.run_state.stopping.budget_s, enabled=backend.rank == 0)
        loop = _loop(plan, backend, seeds, setup, progress)
        with backend.trace(plan.trial_dir / TRACES) if plan.config.capture_jax_trace else contextlib.nullcontext():
            result = loop.run()
        progress.close(result.outcome)
        training = setup.run_state.training
        if result.outcome is not Outcome.INTERRUPTED:
            recorder.append_final(clock.submission_time_s(), training.global_step)
        return _finish(plan, backend, clock, result, training, preemptions, setup.run_state.pauses.summary)


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """A trial's objects before the loop starts; `run_state` holds the recorder and the queue too."""

    workload: spec.Workload
    run_state: RunState
    recorder: Recorder | NullRecorder
    input_queue: Prefetcher
    checkpointer: Checkpointer | None


def _build(plan: TrialPlan, backend: Backend, seeds: Seeds, clock: Clock) -> _Setup:
    model = plan.component(base.model_module(backend.framework)).build(plan.definition)
    workload = backend.build_workload(plan.definition, model)
    config = plan.config
    recorder: Recorder | NullRecorder = (
        Recorder(plan.trial_dir, tensorboard=config.use_tensorboard) if backend.rank == 0 else NullRecorder()
    )
    input_queue = Prefetcher(functools.partial(_train_batches, plan, backend, seeds.data), backend.put_batch)
    run_state = RunState(
        seed=plan.seed,
        training=_initial_training_state(plan, backend, seeds, workload, clock),
        clock=clock,
        stopping=Stopping(
            definition=plan.definition,
            ruleset=config.ruleset,
            stop_at_validation_target=config.stop_at_validation_target,
        ),
        schedule=EvaluationSchedule(period_s=plan.definition.budget.eval_period_s),
        input_queue=input_queue,
        recorder=recorder,
        pauses=PauseMonitor(plan.own_work),
    )
    return _Setup(
        workload=workload,
        run_state=run_state,
        recorder=recorder,
        input_queue=input_queue,
        checkpointer=(
            Checkpointer(plan.trial_dir, backend, keep_all=config.save_intermediate_checkpoints)
            if config.save_checkpoints
            else None
        ),
    )


def _initial_training_state(
    plan: TrialPlan, backend: Backend, seeds: Seeds, workload: spec.Workload, clock: Clock
) -> TrainingState:
    params, model_state = workload.init_model_fn(seeds.model_init)
    rank_batch_size = plan.batch_size // backend.world_size
    params = backend.prepare_model(
        workload,
        params,
        compile_model=plan.config.torch_compile,
        sample_batch=lambda: plan.component("data").fake_batch(plan.definition, rank_batch_size, 0),
    )
    with clock.paused_for(Item.INIT_OPTIMIZER_STATE):
        optimizer_state = plan.submission.init_optimizer_state(
            workload=workload,
            model_params=params,
            model_state=model_state,
            hyperparameters=plan.hyperparameters,
            rng=seeds.optimizer_init,
        )
        optimizer_state = backend.place_state(optimizer_state)
        backend.fence(optimizer_state)
    return TrainingState(params=params, model_state=model_state, optimizer_state=optimizer_state)


def _train_batches(plan: TrialPlan, backend: Backend, seed: int, start_batch: int) -> TrainPipeline:
    return TrainPipeline(
        plan.component("data").open_split(plan.definition, Split.TRAIN, plan.config.data_dir),
        batch_size=plan.batch_size,
        seed=seed,
        rank=backend.rank,
        world_size=backend.world_size,
        num_shards=backend.num_local_devices,
        start_batch=start_batch,
    )


def _check_savable(setup: _Setup) -> None:
    """Encodes the fresh state once: what cannot be saved is known before the first step, not after hours."""
    if setup.checkpointer is not None:
        with setup.run_state.clock.paused_for(Item.CHECKPOINT):
            setup.checkpointer.check(setup.run_state)


def _restore(setup: _Setup, report: Report) -> None:
    """Continues from the newest intact checkpoint, where there is one, and says so."""
    if setup.checkpointer is None:
        return
    search = setup.checkpointer.restore(setup.run_state)
    for reason in search.damaged:
        report(f"warning: {reason}; using the checkpoint before it")
    if search.checkpoint is not None:
        earlier_s = sum(setup.run_state.clock.ledger_s().values())
        report(f"resumed at step {search.checkpoint.step} after {earlier_s:.0f} s of earlier work")
    elif search.damaged:
        report("warning: no intact checkpoint is left; starting this trial again from step 0")


def _loop(plan: TrialPlan, backend: Backend, seeds: Seeds, setup: _Setup, progress: Progress) -> TrainingLoop:
    return TrainingLoop(
        LoopPlan(
            workload=setup.workload,
            submission=plan.submission,
            hyperparameters=plan.hyperparameters,
            seeds=seeds,
            max_global_steps=plan.config.max_global_steps,
            skip_evals=plan.config.skip_evals,
        ),
        setup.run_state,
        LoopPorts(
            backend=backend,
            evaluate=_evaluator(plan, backend, progress.evaluating).evaluate,
            observer=progress,
            checkpointer=setup.checkpointer,
        ),
    )


def _start_wandb(plan: TrialPlan, backend: Backend) -> Any:
    return start_wandb(
        plan.trial_dir,
        name=f"{plan.definition.name}_{backend.framework}",
        config={**plan.config.flag_values, **_hyperparameter_dict(plan.hyperparameters)},
        tags=[plan.definition.name, backend.framework],
    )


def _evaluator(plan: TrialPlan, backend: Backend, observe: EvaluationObserver) -> Evaluator:
    return Evaluator(
        definition=plan.definition,
        data_module=plan.component("data"),
        metrics_module=plan.component("metrics"),
        data_dirs={split: plan.data_dirs[split] for split in EVAL_SPLITS},
        backend=backend,
        observe=observe,
    )


def _write_metadata(plan: TrialPlan, backend: Backend, workload: spec.Workload, preemptions: int) -> None:
    if backend.rank != 0:
        return
    meta = provenance.meta_data(
        definition=plan.definition, workload=workload, device_report=backend.device_report(), seed=plan.seed
    )
    json.write(plan.trial_dir / meta_data_file(preemptions), meta)
    json.write(plan.trial_dir / flags_file(preemptions), provenance.flags_json(plan.config.flag_values))


def _finish(
    plan: TrialPlan,
    backend: Backend,
    clock: Clock,
    result: LoopResult,
    state: TrainingState | None,
    preemptions: int,
    pauses: PauseSummary | None = None,
) -> TrialResult:
    """Writes `trial.json`, the typed end of the trial."""
    definition = plan.definition
    record = TrialRecord(
        outcome=result.outcome,
        error=result.error,
        workload=definition.name,
        framework=backend.framework,
        definition_digest=definition.digest(),
        submission=str(plan.submission.path),
        ruleset=plan.config.tuning_ruleset,
        budget_s=definition.budget.max_runtime_s * plan.config.ruleset.budget_factor,
        seed=plan.seed,
        batch_size=plan.batch_size,
        hyperparameters=_hyperparameter_dict(plan.hyperparameters),
        global_step=state.global_step if state else 0,
        preemption_count=preemptions,
        submission_time_s=clock.submission_time_s(),
        best_validation=_best(definition, state.eval_results if state else []),
        ledger=Ledger.of(clock.ledger_s()),
        pauses=pauses,
        provenance=provenance.collect(
            device_report=backend.device_report(),
            definition=definition,
            seed=plan.seed,
            extra={
                "submission_digest": plan.submission.source_digest,
                "submission_digests": submission_sources.recorded_digests(plan.trial_dir),
                "submission_files": plan.submission.source_files,
                "data_digest": plan.data_digest,
            },
        ),
    )
    if backend.rank == 0:
        record.write(plan.trial_dir)
    return TrialResult(outcome=result.outcome, trial_dir=plan.trial_dir, record=record, is_shown=backend.rank == 0)


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


def _hyperparameter_dict(hyperparameters: Any) -> dict[str, Any]:
    return {} if hyperparameters is None else json.plain(hyperparameters)
