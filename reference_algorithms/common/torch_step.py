"""The training step that all PyTorch reference algorithms share: no host synchronisation, one or many processes.

An algorithm is a function that builds a `torch.optim.Optimizer`; the rest of a submission is here.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from algoperf import spec
from reference_algorithms.common.schedules import Schedule
from reference_algorithms.common.step import AlgorithmHooks, Hooks, Step

MakeOptimizer = Callable[[torch.nn.Module, Any, spec.Workload], torch.optim.Optimizer]
MakeSchedule = Callable[[Any, int], Schedule]


class Losses(NamedTuple):
    """Sum of the example losses and their number, over all processes (float32 scalars on the device)."""

    summed: torch.Tensor
    n_valid: torch.Tensor


class Algorithm(AlgorithmHooks):
    """The hooks of a submission, around one optimizer. Steps change the model in place.

    The optimizer state is {"optimizer": ...}.

    Args:
      make_optimizer: (model, hyperparameters, workload) -> optimizer. Its `step` is called with a closure that computes
        the gradients, clipped to `hyperparameters.grad_clip`; `closure(update_batch_norm=False)` may be called again
        for the gradients at other parameters. If it has `train()` and `eval()`, they are called before a step and
        before an evaluation.
      make_schedule: (hyperparameters, number of steps) -> schedule. The rate of a parameter group is that times the
        group's `lr_factor`, 1 where it has none.
      self_tuning_file: see `AlgorithmHooks`.
    """

    def __init__(
        self, make_optimizer: MakeOptimizer, *, make_schedule: MakeSchedule, self_tuning_file: Path | None = None
    ) -> None:
        super().__init__(self_tuning_file)
        self._make_optimizer = make_optimizer
        self._make_schedule = make_schedule

    def initial_state(self, workload: Any, params: torch.nn.Module, hyperparameters: Any) -> dict[str, Any]:
        return {"optimizer": self._make_optimizer(params, hyperparameters, workload)}

    def train(self, step: Step) -> tuple[spec.UpdateReturn, dict[str, Any]]:
        params, optimizer = step.params, step.optimizer_state["optimizer"]
        if hasattr(optimizer, "train"):
            optimizer.train()
        schedule = self._make_schedule(step.hyperparameters, step.workload.step_hint)
        set_learning_rate(optimizer, float(schedule(step.number)))
        max_norm = getattr(step.hyperparameters, "grad_clip", None)
        first: dict[str, Any] = {}

        def closure(update_batch_norm: bool = True) -> None:
            optimizer.zero_grad(set_to_none=True)
            losses, new_model_state = _backward(step, update_batch_norm)
            norm = clip_gradients(params.parameters(), max_norm) if step.logs or max_norm is not None else None
            if not first:
                first.update(losses=losses, grad_norm=norm, model_state=new_model_state)

        optimizer.step(closure)
        scalars = {}
        if step.logs:
            scalars = {"loss": first["losses"].summed / first["losses"].n_valid, "grad_norm": first["grad_norm"]}
        return (step.optimizer_state, params, first["model_state"]), scalars

    def to_eval(self, optimizer_state: dict[str, Any], params: torch.nn.Module) -> tuple[Any, Any]:
        if hasattr(optimizer_state["optimizer"], "eval"):
            optimizer_state["optimizer"].eval()
        return optimizer_state, params


def hooks(make_optimizer: MakeOptimizer, submission_file: str, *, make_schedule: MakeSchedule) -> Hooks:
    """The hooks of an `Algorithm` whose `self_tuning.json` is in the folder of `submission_file`."""
    self_tuning_file = Path(submission_file).with_name("self_tuning.json")
    return Algorithm(make_optimizer, make_schedule=make_schedule, self_tuning_file=self_tuning_file).hooks


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


def _backward(step: Step, update_batch_norm: bool) -> tuple[Losses, Any]:
    """Adds the gradient of the mean loss over the global batch; returns (losses, model state)."""
    logits, new_model_state = step.workload.model_fn(
        params=step.params,
        augmented_and_preprocessed_input_batch=step.batch,
        model_state=step.model_state,
        mode=spec.ForwardPassMode.TRAIN,
        rng=step.rng,
        update_batch_norm=update_batch_norm,
        dropout_rate=getattr(step.hyperparameters, "dropout_rate", None),
    )
    loss = step.workload.loss_fn(
        label_batch=step.batch["targets"],
        logits_batch=logits,
        mask_batch=step.batch.get("weights"),
        label_smoothing=getattr(step.hyperparameters, "label_smoothing", 0.0),
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
