"""The model in JAX."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algoperf.backends.base import Weights
from algoperf.definition import WorkloadDefinition

_NAMES = ("kernel", "bias")


def build(definition: WorkloadDefinition) -> "JaxToyModel":
    return JaxToyModel(definition.model.num_features)


class JaxToyModel:
    """`params` is {"Dense_0": {"kernel": [features, 1], "bias": [1]}}."""

    def __init__(self, num_features: int) -> None:
        self._num_features = num_features

    def init(self, rng: Any) -> tuple[Any, Any]:
        kernel = jax.random.normal(rng, (self._num_features, 1)) / jnp.sqrt(self._num_features)
        return {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(1)}}, None

    def forward(
        self,
        params: Any,
        batch: Mapping[str, Any],
        model_state: Any,
        *,
        train: bool,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float,
    ) -> tuple[Any, Any]:
        layer = params["Dense_0"]
        return (batch["inputs"] @ layer["kernel"] + layer["bias"])[:, 0], model_state

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        weights = jnp.ones_like(logits) if weights is None else weights
        per_example = weights * (logits - labels) ** 2
        return {"summed": per_example.sum(), "n_valid_examples": weights.sum(), "per_example": per_example}

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        return {"loss": _squared_errors(params["Dense_0"], batch["inputs"], batch["targets"])}

    def is_output_params(self, param_key: str) -> bool:
        return param_key == "Dense_0"

    def export_weights(self, params: Any, model_state: Any) -> Weights:
        return {f"params/Dense_0/{name}": np.asarray(params["Dense_0"][name]) for name in _NAMES}

    def import_weights(self, weights: Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return {"Dense_0": {name: jnp.asarray(weights[f"params/Dense_0/{name}"]) for name in _NAMES}}, model_state


@jax.jit
def _squared_errors(layer: Any, inputs: Any, targets: Any) -> Any:
    return ((inputs @ layer["kernel"] + layer["bias"])[:, 0] - targets) ** 2
