"""Puts a plain optimizer on the shared step: a function or class of which nobody wrote a submission."""

import inspect
from collections.abc import Callable
from typing import Any


class OptimizerFunctionError(TypeError):
    """A function cannot be called with what there is; one line that says what it asks for."""


def call_with(function: Callable[..., Any], **available: Any) -> Any:
    """Calls `function` with those of `available` that it asks for.

    Arguments are given by name. A function whose required arguments have other names gets the available ones by
    position, in their order, as many as it requires.

    Raises:
      OptimizerFunctionError: it requires more arguments than there are.
    """
    parameters = inspect.signature(function).parameters.values()
    by_name = {p.name: available[p.name] for p in parameters if p.name in available and p.kind is not p.VAR_KEYWORD}
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if all(p.name in by_name and p.kind is not p.POSITIONAL_ONLY for p in required):
        return function(**by_name)
    if len(required) > len(available) or any(p.kind is p.KEYWORD_ONLY for p in required):
        raise OptimizerFunctionError(
            f"{function.__name__} requires {', '.join(p.name for p in required)}, expected at most "
            f"{', '.join(available)}; wrap it in a function that takes those"
        )
    return function(*list(available.values())[: len(required)])


def jax_optimizer(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """`make_optimizer` of the JAX step; `function` takes (hyperparameters, workload) or less."""

    def make_optimizer(hyperparameters: Any, workload: Any) -> Any:
        return call_with(function, hyperparameters=hyperparameters, workload=workload)

    return make_optimizer


def torch_optimizer(function: Any) -> Callable[[Any, Any, Any], Any]:
    """`make_optimizer` of the PyTorch step, with the learning rates that the optimizer comes with.

    `function` takes (model, hyperparameters, workload) or less; a class is given `model.parameters()` instead.
    """

    optimizer_class: Any = function if inspect.isclass(function) else None

    def make_optimizer(model: Any, hyperparameters: Any, workload: Any) -> Any:
        if optimizer_class is not None:
            optimizer = optimizer_class(model.parameters())
        else:
            optimizer = call_with(function, model=model, hyperparameters=hyperparameters, workload=workload)
        for group in optimizer.param_groups:
            group["lr_factor"] = float(group["lr"])
        return optimizer

    return make_optimizer


def constant_schedule(hyperparameters: Any, num_steps: int) -> Callable[[int], float]:
    """Leaves the learning rates as they are: a factor of 1 at every step."""
    return lambda step: 1.0
