"""NadamW in JAX, at a point for the minis, whose runs are a hundred times shorter than those of the full tasks."""

from reference_algorithms.common import jax_step
from reference_algorithms.nadamw.jax_submission import make_optimizer

get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
