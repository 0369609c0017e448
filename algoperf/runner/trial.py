"""One trial from start to `trial.json`: builds what the loop needs, restores, runs, records."""

import contextlib
import dataclasses

from algoperf import spec
from algoperf.backends.base import Backend
from algoperf.definition import EVAL_SPLITS
from algoperf.harness.checkpoint import remove_partial_checkpoints
from algoperf.harness.clock import Clock, Item
from algoperf.harness.cost_meter import CostMeter
from algoperf.harness.evaluator import EvaluationObserver, Evaluator
from algoperf.harness.failure import LoopResult, result_of
from algoperf.harness.loop import LoopPlan, LoopPorts, TrainingLoop
from algoperf.harness.progress import Progress
from algoperf.harness.rank_times import RankTimes
from algoperf.harness.ranks import BrokenRanks, RankWatch
from algoperf.harness.seeds import Seeds, seed_host_generators
from algoperf.harness.signals import StopSignals
from algoperf.records import json, provenance
from algoperf.records.layout import TRACES, flags_file, meta_data_file
from algoperf.records.outcome import Outcome
from algoperf.records.recorder import ScalarLogger
from algoperf.records.trackers import MLFLOW, TENSORBOARD, WANDB, GuardedTracker, TrackedTrial, start_trackers
from algoperf.reporting import Report
from algoperf.runner import summary
from algoperf.runner.compilation_cache import CompilationCache
from algoperf.runner.isolated.checkpoints import refuse_other_mode
from algoperf.runner.isolated.trial import build_isolated
from algoperf.runner.trial_calibration import TrialCalibration
from algoperf.runner.trial_end import TrialEnd, TrialPlan, TrialResult, hyperparameter_dict
from algoperf.runner.trial_setup import TrialSetup, build, build_model


def run_trial(plan: TrialPlan, backend: Backend, report: Report, stop: StopSignals, watch: RankWatch) -> TrialResult:
    """Runs or resumes one trial and writes its record.

    Whatever the submission does (crash, exit, divergence, out of memory), and a signal that asks to stop, end up in the
    outcome; mistakes that concern the whole command (full disk, unreadable data) are raised.
    """
    with stop.deferred(), contextlib.ExitStack() as cleanup:
        meter = CostMeter(cpu_now=plan.cpu_s).start() if backend.rank == 0 else None
        if meter is not None:
            cleanup.callback(meter.close)
        clock = plan.new_clock(backend, meter)
        end = TrialEnd(plan, backend, clock, meter)
        watch.on_lost = lambda broken: _end_without_ranks(end, broken)
        try:
            result = _train(plan, backend, clock, end, cleanup, report, stop)
        except BaseException as error:
            failed = result_of(error, backend, stop)
            if failed is None:
                raise
            result = failed
        ended = end.write(result)
        if result.error is None:
            return ended
        broken = watch.end_of_trial(str(plan.trial_dir), result.error)
        if broken is None:
            return ended
        return end.write(LoopResult(outcome=result.outcome, error=broken.explain(result.error)), broken=broken)


def _end_without_ranks(end: TrialEnd, broken: BrokenRanks) -> None:
    """The typed end that the watching thread gives a trial whose main thread waits for a rank."""
    summary.show([end.write(LoopResult(outcome=Outcome.CRASHED, error=broken.reason), broken=broken)])


def _train(
    plan: TrialPlan,
    backend: Backend,
    clock: Clock,
    end: TrialEnd,
    cleanup: contextlib.ExitStack,
    report: Report,
    stop: StopSignals,
) -> LoopResult:
    """Builds and restores what the trial needs, and trains to a typed end; `cleanup` closes it."""
    with stop.interrupting():
        end.calibration = _start_calibration(plan, clock)
    if end.calibration is not None:
        plan = dataclasses.replace(plan, definition=end.calibration.calibrated(plan.definition))
    seeds = Seeds(backend, plan.seed)
    end.compilation_cache = cache = CompilationCache.of_trial(
        plan.config.compilation_cache, plan.definition, plan.trial_dir
    )
    backend.use_compilation_cache(cache.folder, is_shared=cache.is_shared)
    with stop.interrupting():
        backend.reset_memory()
        if backend.rank == 0:
            remove_partial_checkpoints(plan.trial_dir)
        seed_host_generators(plan.seed)
        setup = _build(plan, backend, seeds, clock, cleanup)
        _check_savable(setup)
        _restore(setup, report)
        end.run_state = setup.run_state
        _start(plan, backend, setup, cleanup, report)
    progress = Progress(plan.definition, setup.run_state.stopping.budget_s, enabled=backend.rank == 0)
    loop = _loop(plan, backend, seeds, setup, progress, end.rank_times)
    setup.run_state.pauses.guard.add(loop, setup.recorder, setup.run_state.schedule, setup.run_state.stopping)
    with backend.trace(plan.trial_dir / TRACES) if plan.config.capture_jax_trace else contextlib.nullcontext():
        result = loop.run(stop)
    setup.run_state.pauses.guard.training_ends()
    progress.close(result.outcome, setup.run_state.training.global_step, clock.submission_time_s())
    if result.outcome is not Outcome.INTERRUPTED:
        setup.recorder.append_final(clock.submission_time_s(), setup.run_state.training.global_step)
        if end.calibration is not None:
            setup.input_queue.close()
            with setup.run_state.pauses.watching(), clock.paused_for(Item.CALIBRATION):
                end.calibration.end()
    return result


def _start_calibration(plan: TrialPlan, clock: Clock) -> TrialCalibration | None:
    with clock.paused_for(Item.CALIBRATION):
        return TrialCalibration.start(
            plan.definition, plan.trial_dir, plan.calibrator, budget_factor=plan.config.ruleset.budget_factor
        )


def _build(plan: TrialPlan, backend: Backend, seeds: Seeds, clock: Clock, cleanup: contextlib.ExitStack) -> TrialSetup:
    refuse_other_mode(plan.trial_dir, isolated=plan.isolation is not None)
    if plan.isolation is None:
        return build(plan, backend, seeds, clock)
    return build_isolated(plan, plan.isolation, backend, seeds, clock, cleanup)


def _check_savable(setup: TrialSetup) -> None:
    """Encodes the fresh state once: what cannot be saved is known before the first step, not after hours."""
    if setup.checkpointer is not None:
        with setup.run_state.clock.paused_for(Item.CHECKPOINT):
            setup.checkpointer.check(setup.run_state)


def _start(plan: TrialPlan, backend: Backend, setup: TrialSetup, cleanup: contextlib.ExitStack, report: Report) -> None:
    """Opens the logs and the input queue; `cleanup` closes them."""
    preemptions = setup.run_state.preemption_count
    with plan.own_work.starting():
        trackers = _start_trackers(plan, backend, report) if backend.rank == 0 else []
        setup.recorder.start(preemption_count=preemptions, trackers=trackers)
    cleanup.callback(setup.recorder.close)
    setup.workload.metrics_logger = ScalarLogger(setup.recorder.append_scalar_metrics)
    _write_metadata(plan, backend, setup.workload, preemptions)
    setup.input_queue.start()
    cleanup.callback(setup.input_queue.close)


def _restore(setup: TrialSetup, report: Report) -> None:
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


def _loop(
    plan: TrialPlan, backend: Backend, seeds: Seeds, setup: TrialSetup, progress: Progress, rank_times: RankTimes
) -> TrainingLoop:
    return TrainingLoop(
        LoopPlan(
            workload=setup.workload,
            submission=plan.submission,
            hyperparameters=plan.hyperparameters,
            seeds=seeds,
            max_global_steps=plan.config.max_global_steps,
            skip_evals=plan.config.skip_evals,
            strict_guards=plan.config.strict_guards,
        ),
        setup.run_state,
        LoopPorts(
            backend=backend,
            evaluate=_evaluator(plan, backend, progress.evaluating, rank_times).evaluate,
            observer=progress,
            checkpointer=setup.checkpointer,
            trainer=setup.trainer,
        ),
    )


def _start_trackers(plan: TrialPlan, backend: Backend, report: Report) -> list[GuardedTracker]:
    config = plan.config
    asked = {TENSORBOARD: config.use_tensorboard, WANDB: config.use_wandb, MLFLOW: config.use_mlflow}
    trial = TrackedTrial(
        trial_dir=plan.trial_dir,
        name=f"{plan.definition.name}_{backend.framework}",
        config={**config.flag_values, **hyperparameter_dict(plan.hyperparameters)},
        tags=[plan.definition.name, backend.framework],
    )
    return start_trackers([name for name, is_asked in asked.items() if is_asked], trial, report)


def _evaluator(plan: TrialPlan, backend: Backend, observe: EvaluationObserver, rank_times: RankTimes) -> Evaluator:
    return Evaluator(
        definition=plan.definition,
        data_module=plan.component("data"),
        metrics_module=plan.component("metrics"),
        data_dirs={split: plan.data_dirs[split] for split in EVAL_SPLITS},
        backend=backend,
        workload=backend.build_workload(plan.definition, build_model(plan, backend)),
        code=plan.pinned_code,
        rank_times=rank_times,
        observe=observe,
    )


def _write_metadata(plan: TrialPlan, backend: Backend, workload: spec.Workload, preemptions: int) -> None:
    if backend.rank != 0:
        return
    meta = provenance.meta_data(
        definition=plan.definition,
        workload=workload,
        device_report=backend.device_report(),
        seed=plan.seed,
        matmul_precision=plan.config.precision,
    )
    json.write(plan.trial_dir / meta_data_file(preemptions), meta)
    json.write(plan.trial_dir / flags_file(preemptions), provenance.flags_json(plan.config.flag_values))
