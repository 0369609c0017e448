"""The hooks that all reference algorithms share in both frameworks; a framework adds how a step is computed."""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from algoperf import spec
from reference_algorithms.common import batch_sizes
from reference_algorithms.common.hyperparameters import resolve
from reference_algorithms.common.scalars import LOG_EVERY_STEPS, DelayedScalars


class Hooks(NamedTuple):
    """The functions of a submission, for its module to unpack."""

    get_batch_size: Callable[..., int]
    init_optimizer_state: Callable[..., Any]
    data_selection: Callable[..., spec.Batch]
    update_params: Callable[..., spec.UpdateReturn]
    prepare_for_eval: Callable[..., spec.UpdateReturn]


class Step(NamedTuple):
    """What one training step is given; `logs` says whether its scalars will be written."""

    workload: Any
    params: Any
    model_state: Any
    hyperparameters: Any
    batch: spec.Batch
    optimizer_state: Any
    number: int
    rng: Any
    logs: bool


class AlgorithmHooks(abc.ABC):
    """The hooks of a submission, around one optimizer.

    Args:
      self_tuning_file: JSON object with the hyperparameters of a self-tuning run; None allows tuned runs only.
    """

    def __init__(self, self_tuning_file: Path | None) -> None:
        self._self_tuning_file = self_tuning_file
        self._scalars = DelayedScalars()

    @abc.abstractmethod
    def initial_state(self, workload: Any, params: Any, hyperparameters: Any) -> Any:
        """Returns the optimizer state of fresh parameters."""

    @abc.abstractmethod
    def train(self, step: Step) -> tuple[spec.UpdateReturn, dict[str, Any]]:
        """Returns what `update_params` does, and device scalars (any where `step.logs` is False)."""

    @abc.abstractmethod
    def to_eval(self, optimizer_state: Any, params: Any) -> tuple[Any, Any]:
        """Moves to the (optimizer state, parameters) that are evaluated; the next step moves back."""

    @property
    def hooks(self) -> Hooks:
        return Hooks(
            batch_sizes.get_batch_size,
            self.init_optimizer_state,
            self.data_selection,
            self.update_params,
            self.prepare_for_eval,
        )

    def init_optimizer_state(
        self, workload: Any, model_params: Any, model_state: Any, hyperparameters: Any, rng: Any
    ) -> Any:
        del model_state, rng
        self._scalars = DelayedScalars()
        return self.initial_state(workload, model_params, resolve(hyperparameters, self._self_tuning_file))

    def data_selection(
        self,
        workload: Any,
        input_queue: Any,
        optimizer_state: Any,
        current_param_container: Any,
        model_state: Any,
        hyperparameters: Any,
        global_step: int,
        rng: Any,
    ) -> spec.Batch:
        """Takes the next batch as it comes."""
        return next(input_queue)

    def update_params(
        self,
        workload: Any,
        current_param_container: Any,
        current_params_types: Any,
        model_state: Any,
        hyperparameters: Any,
        batch: spec.Batch,
        loss_type: Any,
        optimizer_state: Any,
        eval_results: Any,
        global_step: int,
        rng: Any,
    ) -> spec.UpdateReturn:
        """One update. Use the returned parameters, model state and optimizer state: the given ones may be gone."""
        logs = global_step % LOG_EVERY_STEPS == 0
        step = Step(
            workload=workload,
            params=current_param_container,
            model_state=model_state,
            hyperparameters=resolve(hyperparameters, self._self_tuning_file),
            batch=batch,
            optimizer_state=optimizer_state,
            number=global_step,
            rng=rng,
            logs=logs,
        )
        updated, scalars = self.train(step)
        if logs and workload.metrics_logger is not None:
            self._scalars.log(workload.metrics_logger, global_step, scalars)
        return updated

    def prepare_for_eval(
        self,
        workload: Any,
        current_param_container: Any,
        current_params_types: Any,
        model_state: Any,
        hyperparameters: Any,
        loss_type: Any,
        optimizer_state: Any,
        eval_results: Any,
        global_step: int,
        rng: Any,
    ) -> spec.UpdateReturn:
        """Writes the held scalars and moves to the parameters that are evaluated."""
        self._scalars.flush()
        optimizer_state, params = self.to_eval(optimizer_state, current_param_container)
        return optimizer_state, params, model_state
