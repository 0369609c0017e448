"""A submission in training on random batches of a workload's shapes, without data, evaluations and records."""

import itertools
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from algoperf import spec
from algoperf.backends import base
from algoperf.backends.base import Backend
from algoperf.definition import WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness.hooks import hook_arguments, training_constants
from algoperf.harness.run_state import TrainingState
from algoperf.harness.seeds import Seeds
from algoperf.records import columns
from algoperf.registry import REGISTRY, Registry
from algoperf.submissions.loading import Submission, resolve_batch_size

_BATCHES = 4


class EndedTrainingError(UserError):
    """A submission ended its training; one line that says at which step."""


class SteppedSubmission:
    """A submission that is in training on random batches, without evaluations.

    Args:
      submission: loaded and checked.
      hyperparameters: its point; None as under the self-tuning rules.
      batch_size: global; None asks the submission.
      compile_model: as of `Backend.prepare_model`; None is the runner's default.
    """

    def __init__(
        self,
        submission: Submission,
        definition: WorkloadDefinition,
        backend: Backend,
        *,
        hyperparameters: Any = None,
        batch_size: int | None = None,
        compile_model: bool | None = None,
        registry: Registry = REGISTRY,
    ) -> None:
        self._submission = submission
        self._backend = backend
        self._hyperparameters = hyperparameters
        self._seeds = Seeds(backend, 0)
        self.batch_size = batch_size or resolve_batch_size(submission, definition, backend.num_devices)
        data = registry.module(definition.name, "data")
        model = registry.module(definition.name, base.model_module(backend.framework)).build(definition)
        self._batches = itertools.cycle(
            [backend.put_batch(data.fake_batch(definition, self.batch_size, seed)) for seed in range(_BATCHES)]
        )
        self._workload = backend.build_workload(definition, model)
        params, model_state = self._workload.init_model_fn(self._seeds.model_init)
        params = backend.prepare_model(
            self._workload,
            params,
            compile_model=compile_model,
            sample_batch=lambda: data.fake_batch(definition, self.batch_size, 0),
        )
        optimizer_state = backend.place_state(
            submission.init_optimizer_state(
                workload=self._workload,
                model_params=params,
                model_state=model_state,
                hyperparameters=hyperparameters,
                rng=self._seeds.optimizer_init,
            )
        )
        self._constants = training_constants(self._workload)
        self._state = TrainingState(params=params, model_state=model_state, optimizer_state=optimizer_state)

    def seconds_of(self, num_steps: int) -> float:
        """Makes so many steps; returns the seconds until their device work is done."""
        self._backend.fence(*self._state.device_trees)
        started = time.perf_counter()
        for _ in range(num_steps):
            self._step()
        self._backend.fence(*self._state.device_trees)
        return time.perf_counter() - started

    def seconds_of_prepare_for_eval(self) -> float:
        """Makes a step, then calls `prepare_for_eval`; returns the seconds of the call, 0 without one."""
        prepare, state = self._submission.prepare_for_eval, self._state
        self.seconds_of(1)
        if prepare is None:
            return 0.0
        workload = self._workload
        common = hook_arguments(workload, state, self._hyperparameters)
        started = time.perf_counter()
        state.optimizer_state, state.params, state.model_state = prepare(
            rng=self._seeds.step(state.global_step - 1).prepare_for_eval,
            eval_results=[],
            **common,
            **self._constants,
        )
        self._backend.fence(*state.device_trees)
        return time.perf_counter() - started

    def _step(self) -> None:
        submission, workload, state = self._submission, self._workload, self._state
        keys = self._seeds.step(state.global_step)
        self._backend.seed_global(0, state.global_step)
        common = hook_arguments(workload, state, self._hyperparameters)
        batch = submission.data_selection(input_queue=self._batches, rng=keys.data_selection, **common)
        requested: dict[str, Any] = {"train_state": _TRAIN_STATE} if submission.wants_train_state else {}
        try:
            state.optimizer_state, state.params, state.model_state = submission.update_params(
                batch=batch,
                rng=keys.update,
                eval_results=[],
                **common,
                **self._constants,
                **requested,
            )
        except spec.TrainingCompleteError:
            raise EndedTrainingError(
                f"{submission.path} ended training at step {state.global_step}; a measurement needs all its steps, "
                "shorten --period or --cycles"
            ) from None
        state.global_step += 1


_TRAIN_STATE: Mapping[str, Any] = MappingProxyType(
    {
        "validation_goal_reached": False,
        "test_goal_reached": False,
        "is_time_remaining": True,
        "last_eval_time": 0,
        "training_complete": False,
        columns.SUBMISSION_TIME: 0.0,
        columns.EVALUATION_TIME: 0.0,
        columns.LOGGING_TIME: 0.0,
        "last_step_end_time": None,
    }
)
