"""The model interface around a Flax module: what all models share, with the few pieces in which they differ."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from algoperf.backends.base import Weights
from algoperf.definition import WorkloadDefinition
from workloads.common.jax import forward, losses, weights


class FlaxModel:
    """Implements `algoperf.backends.base.Model`. A workload overrides `arguments`, `loss` or `outputs`.

    Args:
      definition: of the workload. Where its `default_dropout` is not None, the module takes `dropout_rate`.
      module: called as `module(*arguments, train=...)` or `module(*arguments, train=..., dropout_rate=...)`.
      example: arguments that fix the shape of every parameter; their values do not matter.
      output_layer: top-level parameter key of the output layer.
    """

    def __init__(
        self, definition: WorkloadDefinition, module: nn.Module, *, example: tuple[Any, ...], output_layer: str
    ) -> None:
        self.definition = definition
        self.module = module
        self._example = example
        self._output_layer = output_layer
        self._jitted_evaluate = jax.jit(self.evaluate_batch)

    def arguments(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The module's positional arguments for `batch`."""
        return (batch["inputs"],)

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> losses.Losses:
        """The loss that the definition's `loss_type` names."""
        return losses.of_type(self.definition.loss_type, labels, logits, weights, label_smoothing)

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluation keeps of `logits`: arrays with the examples on axis 0."""
        return {"loss": self.loss(batch["targets"], logits, None, 0.0)["per_example"]}

    def init(self, rng: Any) -> tuple[Any, Any]:
        # Jitted, so that large parameters are drawn without a second copy and the layers are not run.
        options = self._options(0.0)
        init = jax.jit(lambda key: forward.init(self.module, key, *self._example, train=False, **options))
        params, model_state = init(rng)
        return params, model_state

    def forward(
        self, params: Any, batch: Mapping[str, Any], model_state: Any, *, dropout_rate: float, **mode: Any
    ) -> tuple[Any, Any]:
        """As `Model.forward` says; `mode` is `train`, `rng` and `update_batch_norm`."""
        options = self._options(dropout_rate)
        return forward.apply(self.module, params, model_state, *self.arguments(batch), **mode, **options)

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """`evaluate_batch`, jitted."""
        outputs: dict[str, Any] = self._jitted_evaluate(params, dict(batch), model_state)
        return outputs

    def evaluate_batch(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `outputs` of the logits that the model gives in evaluation mode."""
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return self.outputs(logits, batch)

    def is_output_params(self, param_key: str) -> bool:
        return param_key == self._output_layer

    def export_weights(self, params: Any, model_state: Any) -> Weights:
        return weights.export_weights(params, model_state)

    def import_weights(self, weights_: Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return weights.import_weights(weights_, params, model_state)

    def _options(self, dropout_rate: float) -> dict[str, Any]:
        return {} if self.definition.default_dropout is None else {"dropout_rate": dropout_rate}
