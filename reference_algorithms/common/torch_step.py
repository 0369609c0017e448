"""The training step that all PyTorch reference algorithms share: no host synchronisation, one or many processes.

An algorithm is a function that builds a `torch.optim.Optimizer`; the rest of a submission is here.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from algoperf import spec
from reference_algorithms.common.hooks import WithHooks
from reference_algorithms.common.hyperparameters import resolve
from reference_algorithms.common.scalars import LOG_EVERY_STEPS, DelayedScalars
from reference_algorithms.common.schedules import Schedule

MakeOptimizer = Callable[[torch.nn.Module, Any, spec.Workload], torch.optim.Optimizer]
MakeSchedule = Callable[[Any, int], Schedule]


class Losses(NamedTuple):
    """Sum of the example losses and their number, over all processes (float32 scalars on the device)."""

    summed: torch.Tensor
    n_valid: torch.Tensor


class Algorithm(WithHooks):
    """The hooks of a submission, around one optimizer.

    Args:
      make_optimizer: (model, hyperparameters, workload) -> optimizer. Its `step` is called with a closure that computes
        the gradients, clipped to `hyperparameters.grad_clip`; `closure(update_batch_norm=False)` may be called again
        for the gradients at other parameters. If it has `train()` and `eval()`, they are called before a step and
        before an evaluation.
      make_schedule: (hyperparameters, number of steps) -> schedule. The rate of a parameter group is that times the
        group's `lr_factor`, 1 where it has none.
      self_tuning_file: JSON object with the hyperparameters of a self-tuning run; None allows tuned runs only.
    """

    def __init__(
        self, make_optimizer: MakeOptimizer, *, make_schedule: MakeSchedule, self_tuning_file: Path | None = None
    ) -> None:
        self._make_optimizer = make_optimizer
        self._make_schedule = make_schedule
        self._self_tuning_file = self_tuning_file
        self._scalars = DelayedScalars()

    def init_optimizer_state(
        self, workload: Any, model_params: torch.nn.Module, model_state: Any, hyperparameters: Any, rng: Any
    ) -> dict[str, Any]:
        """Returns {"optimizer": ...}."""
        del model_state, rng
        self._scalars = DelayedScalars()
        hyperparameters = resolve(hyperparameters, self._self_tuning_file)
        return {"optimizer": self._make_optimizer(model_params, hyperparameters, workload)}

    def update_params(
        self,
        workload: Any,
        current_param_container: torch.nn.Module,
        current_params_types: Any,
        model_state: Any,
        hyperparameters: Any,
        batch: spec.Batch,
        loss_type: Any,
        optimizer_state: dict[str, Any],
        eval_results: Any,
        global_step: int,
        rng: Any,
    ) -> spec.UpdateReturn:
        """One update, in place."""
        hyperparameters = resolve(hyperparameters, self._self_tuning_file)
        model, optimizer = current_param_container, optimizer_state["optimizer"]
        if hasattr(optimizer, "train"):
            optimizer.train()
        schedule = self._make_schedule(hyperparameters, workload.step_hint)
        set_learning_rate(optimizer, float(schedule(global_step)))
        logs_this_step = global_step % LOG_EVERY_STEPS == 0
        max_norm = getattr(hyperparameters, "grad_clip", None)
        first: dict[str, Any] = {}

        def closure(update_batch_norm: bool = True) -> None:
            optimizer.zero_grad(set_to_none=True)
            losses, new_model_state = _backward(
                workload, model, model_state, batch, rng, hyperparameters, update_batch_norm
            )
            norm = clip_gradients(model.parameters(), max_norm) if logs_this_step or max_norm is not None else None
            if not first:
                first.update(losses=losses, grad_norm=norm, model_state=new_model_state)

        optimizer.step(closure)
        if logs_this_step and workload.metrics_logger is not None:
            loss = first["losses"].summed / first["losses"].n_valid
            self._scalars.log(workload.metrics_logger, global_step, {"loss": loss, "grad_norm": first["grad_norm"]})
        return optimizer_state, model, first["model_state"]

    def prepare_for_eval(
        self,
        workload: Any,
        current_param_container: torch.nn.Module,
        current_params_types: Any,
        model_state: Any,
        hyperparameters: Any,
        loss_type: Any,
        optimizer_state: dict[str, Any],
        eval_results: Any,
        global_step: int,
        rng: Any,
    ) -> spec.UpdateReturn:
        """Writes the held scalars and moves to the parameters that are evaluated."""
        self._scalars.flush()
        if hasattr(optimizer_state["optimizer"], "eval"):
            optimizer_state["optimizer"].eval()
        return optimizer_state, current_param_container, model_state


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the rate of every parameter group, times its `lr_factor`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_factor", 1.0)


def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float | None) -> torch.Tensor:
    """Scales the gradients to a global norm of at most `max_norm`, if given; returns the norm before that."""
    parameters = list(parameters)
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def _backward(
    workload: Any,
    model: torch.nn.Module,
    model_state: Any,
    batch: spec.Batch,
    rng: Any,
    hyperparameters: Any,
    update_batch_norm: bool,
) -> tuple[Losses, Any]:
    """Adds the gradient of the mean loss over the global batch; returns (losses, model state)."""
    logits, new_model_state = workload.model_fn(
        params=model,
        augmented_and_preprocessed_input_batch=batch,
        model_state=model_state,
        mode=spec.ForwardPassMode.TRAIN,
        rng=rng,
        update_batch_norm=update_batch_norm,
        dropout_rate=getattr(hyperparameters, "dropout_rate", None),
    )
    loss = workload.loss_fn(
        label_batch=batch["targets"],
        logits_batch=logits,
        mask_batch=batch.get("weights"),
        label_smoothing=getattr(hyperparameters, "label_smoothing", 0.0),
    )
    losses = _sum_over_processes(loss["summed"].detach(), loss["n_valid_examples"])
    # DistributedDataParallel averages gradients over the processes; the factor turns that into a sum.
    num_processes = dist.get_world_size() if dist.is_initialized() else 1
    (loss["summed"] * num_processes / losses.n_valid).backward()
    return losses, new_model_state


def _sum_over_processes(summed: torch.Tensor, count: torch.Tensor) -> Losses:
    if not dist.is_initialized():
        return Losses(summed, count)
    both = torch.stack([summed.float(), count.detach().float()])
    dist.all_reduce(both)
    return Losses(both[0], both[1])
