"""The small problem as a JAX workload."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import small_problem

from algoperf import jax_sharding_utils, spec


class SmallJaxWorkload(spec.Workload):
    """Running mean of the hidden features stands for batch statistics."""

    def __init__(self) -> None:
        super().__init__(small_problem.DEFINITION)

    @property
    def param_shapes(self) -> Any:
        return nested({name: spec.ShapeTuple(shape) for name, shape in small_problem.SHAPES.items()})

    @property
    def model_params_types(self) -> Any:
        return nested(small_problem.TYPES)

    def init_model_fn(self, rng: Any) -> Any:
        del rng
        params = {name: jnp.asarray(value) for name, value in small_problem.initial_params().items()}
        return jax_sharding_utils.replicate((nested(params), {"batch_stats": {"mean": jnp.zeros(8)}}))

    def model_fn(self, params, batch, model_state, mode, rng, update_batch_norm, dropout_rate=None):
        token, image = batch["inputs"]["token"], batch["inputs"]["image"]
        conv = jax.lax.conv_general_dilated(
            image, params["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        conv = jnp.tanh(conv + params["conv"]["bias"]).mean((1, 2))
        features = jnp.concatenate([conv, params["embedding"]["embedding"][token]], -1)
        hidden = jnp.tanh(features @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        if update_batch_norm:
            mean = 0.9 * model_state["batch_stats"]["mean"] + 0.1 * hidden.mean(0)
            model_state = {"batch_stats": {"mean": mean}}
        hidden = hidden * params["norm"]["scale"]
        return hidden @ params["output"]["kernel"] + params["output"]["bias"], model_state

    def loss_fn(self, label_batch, logits_batch, mask_batch=None, label_smoothing=0.0):
        log_probs = jax.nn.log_softmax(logits_batch)
        losses = -jnp.take_along_axis(log_probs, label_batch[:, None], -1)[:, 0]
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probs.mean(-1)
        losses = losses * mask_batch
        return {"summed": losses.sum(), "n_valid_examples": mask_batch.sum(), "per_example": losses}

    def output_activation_fn(self, logits_batch: Any) -> Any:
        return jax.nn.softmax(logits_batch)

    def is_output_params(self, param_key: str) -> bool:
        return param_key == "output"


def nested(flat: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        module, leaf = name.split("/")
        tree.setdefault(module, {})[leaf] = value
    return tree


def flat(params: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    return {f"{module}/{leaf}": np.array(value) for module, leaves in params.items() for leaf, value in leaves.items()}
