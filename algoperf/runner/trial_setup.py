"""The objects of a trial before its loop starts."""

import functools
from dataclasses import dataclass
from typing import Any, Protocol

from algoperf import spec
from algoperf.backends import base
from algoperf.backends.base import Backend
from algoperf.data.pipeline import TrainPipeline
from algoperf.data.prefetch import Prefetcher
from algoperf.definition import Split
from algoperf.errors import UserError
from algoperf.harness.checkpoint import Checkpointer, StateStore
from algoperf.harness.clock import Clock, Item
from algoperf.harness.failure import reraise_from_submission
from algoperf.harness.pauses import PauseMonitor
from algoperf.harness.run_state import BatchQueue, RunState, TrainingState
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.seeds import Seeds
from algoperf.harness.stopping import Stopping
from algoperf.harness.trainer import Trainer
from algoperf.records.recorder import NullRecorder, Recorder
from algoperf.runner.trial_end import TrialPlan

_SAMPLE_ROWS = 4


class InputQueue(BatchQueue, Protocol):
    """A queue of batches that something fills."""

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """A trial's objects before the loop starts; `run_state` holds the recorder and the queue too.

    Attributes:
      trainer: takes the steps in another process; None where they are taken in this one.
    """

    workload: spec.Workload
    run_state: RunState
    recorder: Recorder | NullRecorder
    input_queue: InputQueue
    checkpointer: Checkpointer | None
    trainer: Trainer | None = None


def build(plan: TrialPlan, backend: Backend, seeds: Seeds, clock: Clock) -> TrialSetup:
    """Makes the objects of a trial; the submission initialises its state."""
    workload = backend.build_workload(plan.definition, build_model(plan, backend))
    if plan.guard is not None:
        plan.guard.watch(clock)
    model = initial_model(plan, backend, seeds, workload)
    if plan.guard is not None:
        plan.guard.add(workload)
    training = initial_training_state(plan, backend, seeds, workload, model, clock)
    input_queue = Prefetcher(functools.partial(train_batches, plan, backend, seeds.data), backend.put_batch)
    run_state, recorder = assemble(plan, backend, clock, training=training, input_queue=input_queue)
    return TrialSetup(
        workload=workload,
        run_state=run_state,
        recorder=recorder,
        input_queue=input_queue,
        checkpointer=checkpointer_of(plan, backend),
    )


def assemble(
    plan: TrialPlan, backend: Backend, clock: Clock, *, training: TrainingState, input_queue: InputQueue
) -> tuple[RunState, Recorder | NullRecorder]:
    """The state of a run before its first step, and the recorder in it."""
    recorder: Recorder | NullRecorder = Recorder(plan.trial_dir) if backend.rank == 0 else NullRecorder()
    config = plan.config
    run_state = RunState(
        seed=plan.seed,
        edition=plan.definition.edition,
        matmul_precision=config.precision,
        training=training,
        clock=clock,
        stopping=Stopping(
            definition=plan.definition,
            ruleset=config.ruleset,
            stop_at_validation_target=config.stop_at_validation_target,
        ),
        schedule=EvaluationSchedule(period_s=plan.definition.budget.eval_period_s),
        input_queue=input_queue,
        recorder=recorder,
        pauses=PauseMonitor(plan.own_work, plan.guard),
    )
    return run_state, recorder


def checkpointer_of(plan: TrialPlan, states: StateStore) -> Checkpointer | None:
    """None where the run saves no checkpoints."""
    config = plan.config
    if not config.save_checkpoints:
        return None
    return Checkpointer(
        plan.trial_dir,
        states,
        keep_all=config.save_intermediate_checkpoints,
        keep_at_target=config.keep_checkpoint_at_target,
    )


def build_model(plan: TrialPlan, backend: Backend) -> base.Model:
    model: base.Model = plan.component(base.model_module(backend.framework)).build(plan.definition)
    max_rows = plan.config.max_device_batch
    if max_rows is None:
        return model
    sample = plan.component("data").fake_batch(plan.definition, _SAMPLE_ROWS, 0)
    return backend.microbatched(plan.definition, model, max_rows, sample)


def initial_model(plan: TrialPlan, backend: Backend, seeds: Seeds, workload: spec.Workload) -> tuple[Any, Any]:
    """Parameters, wrapped for training, and model state, as drawn from the seed."""
    params, model_state = workload.init_model_fn(seeds.model_init)
    rank_batch_size = plan.batch_size // backend.world_size
    params = backend.prepare_model(
        workload,
        params,
        compile_model=plan.config.compile_model,
        sample_batch=lambda: plan.component("data").fake_batch(plan.definition, rank_batch_size, 0),
    )
    return params, model_state


def initial_training_state(
    plan: TrialPlan, backend: Backend, seeds: Seeds, workload: spec.Workload, model: tuple[Any, Any], clock: Clock
) -> TrainingState:
    """The state before the first step, of which the submission makes the optimizer's.

    Args:
      model: of `initial_model`.
    """
    params, model_state = model
    try:
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
    except UserError as error:
        reraise_from_submission(error)
    return TrainingState(params=params, model_state=model_state, optimizer_state=optimizer_state)


def train_batches(plan: TrialPlan, backend: Backend, seed: int, start_batch: int) -> TrainPipeline:
    return TrainPipeline(
        plan.component("data").open_split(plan.definition, Split.TRAIN, plan.config.data_dir),
        batch_size=plan.batch_size,
        seed=seed,
        rank=backend.rank,
        world_size=backend.world_size,
        num_shards=backend.num_local_devices,
        start_batch=start_batch,
    )
