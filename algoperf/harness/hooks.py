"""What every hook of a submission is given, whoever calls it; see `algoperf.spec`."""

from collections.abc import Mapping, Sequence
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


def training_arguments(
    workload: spec.Workload,
    common: Mapping[str, Any],
    *,
    params_types: Any,
    eval_results: Sequence[tuple[int, dict[str, float]]],
) -> dict[str, Any]:
    """Arguments that `update_params` and `prepare_for_eval`, which return a new state, have in common.

    Args:
      common: `hook_arguments` of the present state.
      params_types: of `workload`, which may be costly to ask for.
      eval_results: copies, see `TrainingState.copied_eval_results`.
    """
    return {
        **common,
        "current_params_types": params_types,
        "loss_type": workload.loss_type,
        "eval_results": eval_results,
    }
