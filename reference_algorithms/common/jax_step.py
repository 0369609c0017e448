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
from reference_algorithms.common.hooks import WithHooks
from reference_algorithms.common.hyperparameters import resolve
from reference_algorithms.common.scalars import LOG_EVERY_STEPS, DelayedScalars
from reference_algorithms.common.schedules import Schedule

# (hyperparameters, workload) -> optimizer. Its `update` may ask for `grad_fn(params, i)`, the gradient of the same
# batch at other parameters with the running batch statistics left alone (as `optax.contrib.sam` does).
MakeOptimizer = Callable[[Any, spec.Workload], optax.GradientTransformation]
# (optimizer state, params) -> (optimizer state, params)
Prepare = Callable[[Any, Any], tuple[Any, Any]]


class Algorithm(WithHooks):
    """The hooks of a submission, around one optimizer.

    Args:
      make_optimizer: builds the update rule; clipping to `hyperparameters.grad_clip` is put before it by `clipped`.
      self_tuning_file: JSON object with the hyperparameters of a self-tuning run; None allows tuned runs only.
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
        self._make_optimizer = make_optimizer
        self._self_tuning_file = self_tuning_file
        self._to_eval = to_eval
        self._to_train = to_train
        self._scalars = DelayedScalars()

    def init_optimizer_state(
        self, workload: Any, model_params: Any, model_state: Any, hyperparameters: Any, rng: Any
    ) -> tuple[Any, Any]:
        """Returns (state pytree, update function); the update function is a static part of the compiled step."""
        del model_state, rng
        self._scalars = DelayedScalars()
        hyperparameters = resolve(hyperparameters, self._self_tuning_file)
        optimizer = optax.with_extra_args_support(self._make_optimizer(hyperparameters, workload))
        state = jax.jit(optimizer.init, out_shardings=jax_sharding_utils.get_replicate_sharding())(model_params)
        return state, optimizer.update

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
        """One update. The given parameters, model state and optimizer state are donated: use the returned ones."""
        hyperparameters = resolve(hyperparameters, self._self_tuning_file)
        state, update_fn = optimizer_state
        state, params, model_state, loss, grad_norm = _compiled_step()(
            workload,
            update_fn,
            self._to_train,
            getattr(hyperparameters, "label_smoothing", 0.0),
            getattr(hyperparameters, "dropout_rate", None),
            state,
            current_param_container,
            model_state,
            batch,
            rng,
        )
        if global_step % LOG_EVERY_STEPS == 0 and workload.metrics_logger is not None:
            self._scalars.log(workload.metrics_logger, global_step, {"loss": loss, "grad_norm": grad_norm})
        return (state, update_fn), params, model_state

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
        if self._to_eval is None:
            return optimizer_state, current_param_container, model_state
        state, update_fn = optimizer_state
        state, params = _compiled_prepare()(self._to_eval, state, current_param_container)
        return (state, update_fn), params, model_state


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
