"""The model in plain NumPy, for `algoperf.testing.FakeBackend`; gradients by hand."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from algoperf.backends.base import Weights
from algoperf.definition import WorkloadDefinition

_NAMES = ("kernel", "bias")


def build(definition: WorkloadDefinition) -> "NumpyModel":
    return NumpyModel(definition.model.num_features)


class NumpyModel:
    """A `Model` whose `params` is {"Dense_0": {"kernel": [features, 1], "bias": [1]}}."""

    def __init__(self, num_features: int) -> None:
        self._num_features = num_features

    def init(self, rng: Any) -> tuple[Any, Any]:
        generator = np.random.default_rng(rng)
        kernel = generator.normal(size=(self._num_features, 1)) / np.sqrt(self._num_features)
        return {"Dense_0": {"kernel": kernel.astype(np.float32), "bias": np.zeros(1, np.float32)}}, None

    def forward(self, params: Any, batch: Mapping[str, Any], model_state: Any, **mode: Any) -> tuple[Any, Any]:
        layer = params["Dense_0"]
        return (batch["inputs"] @ layer["kernel"] + layer["bias"])[:, 0], model_state

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        weights = np.ones_like(logits) if weights is None else weights
        per_example = weights * (logits - labels) ** 2
        return {"summed": per_example.sum(), "n_valid_examples": weights.sum(), "per_example": per_example}

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        return {"loss": (self._outputs(params, batch) - batch["targets"]) ** 2}

    def gradient(self, params: Any, batch: Mapping[str, Any]) -> Any:
        """Gradient of the mean loss, in the structure of `params`."""
        slope = 2 * (self._outputs(params, batch) - batch["targets"]) / len(batch["targets"])
        kernel = batch["inputs"].T @ slope[:, None]
        return {"Dense_0": {"kernel": kernel, "bias": slope.sum(keepdims=True)}}

    def _outputs(self, params: Any, batch: Mapping[str, Any]) -> np.ndarray:
        outputs: np.ndarray
        outputs, _ = self.forward(params, batch, None)
        return outputs

    def is_output_params(self, param_key: str) -> bool:
        return param_key == "Dense_0"

    def export_weights(self, params: Any, model_state: Any) -> Weights:
        return {f"params/Dense_0/{name}": params["Dense_0"][name] for name in _NAMES}

    def import_weights(self, weights: Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return {"Dense_0": {name: np.array(weights[f"params/Dense_0/{name}"]) for name in _NAMES}}, model_state
