"""The training step that all JAX reference algorithms share: one compiled function, no host synchronisation.

An algorithm is a function that builds an `optax.GradientTransformation`; the rest of a submission is here.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import jax_sharding_utils, spec
from reference_algorithms.common.schedules import Schedule
from reference_algorithms.common.step import AlgorithmHooks, Hooks, Step

# (hyperparameters, workload) -> optimizer. Its `update` may ask for `grad_fn(params, i)`, the gradient of the same
# batch at other parameters with the running batch statistics left alone (as `optax.contrib.sam` does).
MakeOptimizer = Callable[[Any, spec.Workload], optax.GradientTransformation]
# (optimizer state, params) -> (optimizer state, params)
Prepare = Callable[[Any, Any], tuple[Any, Any]]


class Algorithm(AlgorithmHooks):
    """The hooks of a submission, around one optimizer. Steps donate parameters, model state and optimizer state.

    The optimizer state is (state pytree, update function); the latter is a static part of the compiled step.

    Args:
      make_optimizer: builds the update rule; clipping to `hyperparameters.grad_clip` is put before it by `clipped`.
      self_tuning_file: see `AlgorithmHooks`.
      to_eval: moves to the parameters that are evaluated; None evaluates those that are trained.
      to_train: moves back, at the start of every step; must change nothing if `to_eval` was not called before.
    """

    def __init__(
        self,
        make_optimizer: MakeOptimizer,
        *,
        self_tuning_file: Path | None = None,
        to_eval: Prepare | None = None,
        to_train: Prepare | None = None,
    ) -> None:
        super().__init__(self_tuning_file)
        self._make_optimizer = make_optimizer
        self._to_eval = to_eval
        self._to_train = to_train

    def initial_state(self, workload: Any, params: Any, hyperparameters: Any) -> tuple[Any, Any]:
        optimizer = optax.with_extra_args_support(self._make_optimizer(hyperparameters, workload))
        state = jax.jit(optimizer.init, out_shardings=jax_sharding_utils.get_replicate_sharding())(params)
        return state, optimizer.update

    def train(self, step: Step) -> tuple[spec.UpdateReturn, dict[str, Any]]:
        state, update_fn = step.optimizer_state
        state, params, model_state, loss, grad_norm = _compiled_step()(
            step.workload,
            update_fn,
            self._to_train,
            getattr(step.hyperparameters, "label_smoothing", 0.0),
            getattr(step.hyperparameters, "dropout_rate", None),
            state,
            step.params,
            step.model_state,
            step.batch,
            step.rng,
        )
        return ((state, update_fn), params, model_state), {"loss": loss, "grad_norm": grad_norm}

    def to_eval(self, optimizer_state: Any, params: Any) -> tuple[Any, Any]:
        if self._to_eval is None:
            return optimizer_state, params
        state, update_fn = optimizer_state
        state, params = _compiled_prepare()(self._to_eval, state, params)
        return (state, update_fn), params


def hooks(make_optimizer: MakeOptimizer, submission_file: str, **options: Prepare) -> Hooks:
    """The hooks of an `Algorithm` whose `self_tuning.json` is in the folder of `submission_file`."""
    self_tuning_file = Path(submission_file).with_name("self_tuning.json")
    return Algorithm(make_optimizer, self_tuning_file=self_tuning_file, **options).hooks


def traced(schedule: Schedule) -> optax.Schedule:
    """The schedule as a function of a traced count of updates."""
    return functools.partial(schedule, xp=jnp)


def clipped(hyperparameters: Any, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Puts clipping of the global gradient norm before `optimizer`, if the hyperparameters have `grad_clip`."""
    max_norm = getattr(hyperparameters, "grad_clip", None)
    return optimizer if max_norm is None else optax.chain(optax.clip_by_global_norm(max_norm), optimizer)


def _train_step(
    workload: Any,
    update_fn: Any,
    to_train: Prepare | None,
    label_smoothing: float,
    dropout_rate: float | None,
    state: Any,
    params: Any,
    model_state: Any,
    batch: spec.Batch,
    rng: Any,
) -> tuple[Any, Any, Any, jax.Array, jax.Array]:
    """Returns (optimizer state, parameters, model state, mean loss, gradient norm)."""
    if to_train is not None:
        state, params = to_train(state, params)

    def mean_loss(params: Any, update_batch_norm: bool) -> tuple[jax.Array, Any]:
        logits, new_model_state = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
        )
        loss = workload.loss_fn(
            label_batch=batch["targets"],
            logits_batch=logits,
            mask_batch=batch.get("weights"),
            label_smoothing=label_smoothing,
        )
        return loss["summed"] / loss["n_valid_examples"], new_model_state

    (loss, new_model_state), grads = jax.value_and_grad(mean_loss, has_aux=True)(params, True)
    updates, state = update_fn(
        grads, state, params, grad_fn=lambda at, i: jax.grad(mean_loss, has_aux=True)(at, False)[0]
    )
    return state, optax.apply_updates(params, updates), new_model_state, loss, optax.tree.norm(grads)


@functools.cache
def _compiled_step() -> Any:
    """Compiled once for each (workload, optimizer, regularisation). The batch keeps the sharding that it comes with."""
    replicated = jax_sharding_utils.get_replicate_sharding()
    return jax.jit(
        _train_step,
        static_argnums=(0, 1, 2, 3, 4),
        donate_argnums=(5, 6, 7),
        in_shardings=(replicated, replicated, replicated, None, None),
        out_shardings=replicated,
    )


@functools.cache
def _compiled_prepare() -> Any:
    return jax.jit(
        lambda prepare, state, params: prepare(state, params),
        static_argnums=0,
        donate_argnums=(1, 2),
        out_shardings=jax_sharding_utils.get_replicate_sharding(),
    )
