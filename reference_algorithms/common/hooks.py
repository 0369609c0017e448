"""The functions of a submission, as the algorithms of both frameworks offer them."""

from typing import Any, Protocol

from algoperf import spec
from reference_algorithms.common.batch_sizes import get_batch_size

Hooks = tuple[spec.GetBatchSize, spec.InitOptimizerState, spec.DataSelection, spec.UpdateParams, spec.PrepareForEval]


class _Steps(Protocol):
    @property
    def init_optimizer_state(self) -> spec.InitOptimizerState: ...

    @property
    def update_params(self) -> spec.UpdateParams: ...

    @property
    def prepare_for_eval(self) -> spec.PrepareForEval: ...


def take_next_batch(
    workload: spec.Workload,
    input_queue: spec.InputQueue,
    optimizer_state: Any,
    current_param_container: Any,
    model_state: Any,
    hyperparameters: Any,
    global_step: int,
    rng: Any,
) -> spec.Batch:
    """Returns the next batch as it comes."""
    return next(input_queue)


class WithHooks:
    """Base of the algorithms: adds `data_selection` and `hooks` to the steps of a framework."""

    data_selection = staticmethod(take_next_batch)

    @property
    def hooks(self: _Steps) -> Hooks:
        """(get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval) of a submission."""
        return get_batch_size, self.init_optimizer_state, take_next_batch, self.update_params, self.prepare_for_eval
