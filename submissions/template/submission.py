"""A complete submission in JAX that trains: copy this folder, then change what makes your algorithm yours.

    python submission_runner.py --workload=mnist_mini --framework=jax \
        --submission_path=submissions/template/submission.py --num_tuning_trials=2

The benchmark calls the five functions below by keyword, so their argument names are fixed. What they hold is yours.
What happens inside `data_selection`, `update_params` and `prepare_for_eval` is timed, with all the device work it
queues; what happens in `init_optimizer_state` is not. The guide is docs/submission_guide.md;
`submission_pytorch.py` beside this file is the same algorithm in PyTorch.
"""

import functools

import jax
import optax

from algoperf import jax_sharding_utils, spec
from algoperf.registry import REGISTRY


def get_batch_size(workload_name):
    """Returns the global batch size, over all devices; it must divide by their number.

    This is the size of the reference algorithms; your algorithm may want another. Raise ValueError for a workload that
    you have no size for: the benchmark then asks for its base workload. The variant wmt_post_ln gets the size of wmt,
    and wmt_mini gets that size times the mini's factor.
    """
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    """Returns what `update_params` gets as `optimizer_state` at step 0. Not timed.

    hyperparameters: one point of the search space, values as attributes; None under the self-tuning rules.
    rng: a JAX key. Draw from it and nothing else, and the run can be repeated.
    """
    # step_hint is about how many steps fit the time budget: a horizon for schedules, not a promise.
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=hyperparameters.learning_rate,
        warmup_steps=workload.step_hint // 50,
        decay_steps=workload.step_hint,
    )
    optimizer = optax.adamw(schedule, weight_decay=hyperparameters.weight_decay)
    # Arrays and numbers are put in checkpoints; functions are kept as they are, so both may be returned.
    return jax.jit(optimizer.init, out_shardings=jax_sharding_utils.get_replicate_sharding())(
        model_params
    ), optimizer.update


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    """Returns the batch of this step. Timed.

    Every `next` gives a batch of the global size, already on the devices and split on axis 0. You may drop, mix or
    reweight examples, or call `next` more than once; you may not read the dataset in any other way.
    """
    return next(input_queue)


# Compiled once. Static arguments are hashed: the workload and the update function by identity, numbers by value.
# Donated arguments are overwritten: nothing but what is returned may be used afterwards.
@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3, 4, 5))
def _train_step(workload, update_fn, dropout_rate, opt_state, params, model_state, batch, rng):
    def mean_loss(params):
        # TRAIN switches dropout and batch statistics on. A dropout_rate of None is the workload's default.
        logits, new_model_state = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=True,
            dropout_rate=dropout_rate,
        )
        # Batches without padding have no weights; then all examples count.
        loss = workload.loss_fn(label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights"))
        # Sums over the global batch: JAX adds the communication between devices itself.
        return loss["summed"] / loss["n_valid_examples"], new_model_state

    (loss, new_model_state), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
    updates, new_opt_state = update_fn(grads, opt_state, params)
    return new_opt_state, optax.apply_updates(params, updates), new_model_state, loss


def update_params(
    workload,
    current_param_container,
    current_params_types,
    model_state,
    hyperparameters,
    batch,
    loss_type,
    optimizer_state,
    eval_results,
    global_step,
    rng,
):
    """Returns (optimizer state, parameters, model state) after one step, or after as many as you like. Timed.

    current_params_types: tree like the parameters, with the `spec.ParameterType` of each.
    eval_results: list of (step, metrics) of all evaluations so far, validation and test metrics included.
    rng: the key of this step, never the same twice.
    Add an argument `train_state` if you want the clock: a read-only mapping with accumulated_submission_time and more.
    Raise `spec.TrainingCompleteError` to end the run: one last evaluation, and no more steps.
    """
    opt_state, update_fn = optimizer_state
    opt_state, params, model_state, loss = _train_step(
        workload,
        update_fn,
        getattr(hyperparameters, "dropout_rate", None),
        opt_state,
        current_param_container,
        model_state,
        batch,
        rng,
    )
    # float() waits for the device, on your time: not at every step.
    if global_step % 500 == 0 and workload.metrics_logger is not None:
        workload.metrics_logger.append_scalar_metrics({"loss": float(loss)}, global_step)
    return (opt_state, update_fn), params, model_state


def prepare_for_eval(
    workload,
    current_param_container,
    current_params_types,
    model_state,
    hyperparameters,
    loss_type,
    optimizer_state,
    eval_results,
    global_step,
    rng,
):
    """Returns the triple that is evaluated, and from which training continues. Timed. You may leave this function out.

    An algorithm that evaluates averaged parameters returns them here, keeps the others in its optimizer state, and
    takes them up again in the next `update_params`.
    """
    return optimizer_state, current_param_container, model_state
