"""The algorithm of `submission.py` in PyTorch. What differs from JAX is commented here; the rest is said there.

    python submission_runner.py --workload=mnist_mini --framework=pytorch \
        --submission_path=submissions/template/submission_pytorch.py --num_tuning_trials=2

With `torchrun --nproc_per_node=8 submission_runner.py ...` every process runs this file, each with its own share of the
batch.
"""

import math

import torch
import torch.distributed as dist

from algoperf import spec
from algoperf.registry import REGISTRY


def get_batch_size(workload_name):
    """Returns the global batch size, over all processes."""
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    """Returns a dict. Not timed.

    Checkpoints keep tensors, numbers, and whatever has `state_dict()` and `load_state_dict()`. All objects that have a
    state must be made here, because a resumed run loads into what this function returns.

    model_params: the model, an `nn.Module` on its device, perhaps compiled or in DistributedDataParallel.
    """
    # The fused step is one kernel for all parameters.
    optimizer = torch.optim.AdamW(
        model_params.parameters(),
        lr=hyperparameters.learning_rate,
        weight_decay=hyperparameters.weight_decay,
        fused=True,
    )
    warmup_steps = max(workload.step_hint // 50, 1)
    decay_steps = max(workload.step_hint - warmup_steps, 1)

    def factor(step):
        """Linear warm-up from 0, then half a cosine, then 0: a run may outlast the step hint."""
        if step < warmup_steps:
            return step / warmup_steps
        return 0.5 * (1.0 + math.cos(math.pi * min((step - warmup_steps) / decay_steps, 1.0)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "schedule": schedule}


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    """Returns this process's share of the batch. Timed."""
    return next(input_queue)


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
    """Changes the model in place and returns (optimizer state, model, model state). Timed.

    current_params_types: `spec.ParameterType` by parameter name, as in the model without wrappers.
    """
    model, optimizer = current_param_container, optimizer_state["optimizer"]
    optimizer.zero_grad(set_to_none=True)
    # The mode that is passed decides between training and evaluation: no need for model.train().
    logits, model_state = workload.model_fn(
        params=model,
        augmented_and_preprocessed_input_batch=batch,
        model_state=model_state,
        mode=spec.ForwardPassMode.TRAIN,
        rng=rng,
        update_batch_norm=True,
        dropout_rate=getattr(hyperparameters, "dropout_rate", None),
    )
    loss = workload.loss_fn(label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights"))

    # loss_fn sums over this process's share. Shares can have different numbers of valid examples, so the mean over the
    # global batch needs the total. DistributedDataParallel averages gradients; num_processes turns that into a sum.
    totals = torch.stack([loss["summed"].detach(), loss["n_valid_examples"].detach()])
    num_processes = 1
    if dist.is_initialized():
        dist.all_reduce(totals)
        num_processes = dist.get_world_size()
    (loss["summed"] * num_processes / totals[1]).backward()
    optimizer.step()
    optimizer_state["schedule"].step()

    # item() waits for the device, on your time: not at every step. Rank 0 alone has a logger.
    if global_step % 500 == 0 and workload.metrics_logger is not None:
        workload.metrics_logger.append_scalar_metrics({"loss": (totals[0] / totals[1]).item()}, global_step)
    return optimizer_state, model, model_state


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
    """Returns the triple that is evaluated, and from which training continues. Timed. Optional."""
    return optimizer_state, current_param_container, model_state
