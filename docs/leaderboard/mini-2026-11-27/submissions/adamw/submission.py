"""AdamW at the point of `self_tuning.json`, chosen by benchmarks/self_tuning_search.py."""

from reference_algorithms.adamw.torch_submission import make_optimizer
from reference_algorithms.common import schedules, torch_step

get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = torch_step.hooks(
    make_optimizer, __file__, make_schedule=schedules.cosine
)
