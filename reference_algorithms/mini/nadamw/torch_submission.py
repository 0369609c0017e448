"""NadamW in PyTorch, at a point for the minis, whose runs are a hundred times shorter than those of the full tasks."""

from reference_algorithms.common import schedules, torch_step
from reference_algorithms.nadamw.torch_submission import make_optimizer

get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
