"""What every hook of a submission is given, whoever calls it; see `algoperf.spec`."""

from typing import Any

from algoperf import spec
from algoperf.harness.run_state import TrainingState


def hook_arguments(workload: spec.Workload, state: TrainingState, hyperparameters: Any) -> dict[str, Any]:
    """Arguments that `data_selection`, `update_params` and `prepare_for_eval` have in common."""
    return {
        "workload": workload,
        "current_param_container": state.params,
        "model_state": state.model_state,
        "hyperparameters": hyperparameters,
        "optimizer_state": state.optimizer_state,
        "global_step": state.global_step,
    }


def training_constants(workload: spec.Workload) -> dict[str, Any]:
    """Further arguments of `update_params` and `prepare_for_eval` that stay the same for a run; costly to ask for.

    `eval_results` comes on top, copies of those so far: see `TrainingState.copied_eval_results`.
    """
    return {"current_params_types": workload.model_params_types, "loss_type": workload.loss_type}
