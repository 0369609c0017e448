"""What the workload of every framework shares: a definition, a model, and hooks that follow from the two."""

from collections.abc import Callable
from typing import Any

from algoperf import spec
from algoperf.backends.base import Model
from algoperf.definition import LossType, WorkloadDefinition


class ModelWorkload(spec.Workload):
    """A workload whose model is a `Model` of one framework.

    Args:
      softmax, sigmoid: the framework's functions of logits; softmax over the last axis.
    """

    def __init__(
        self,
        definition: WorkloadDefinition,
        model: Model,
        *,
        softmax: Callable[[Any], Any],
        sigmoid: Callable[[Any], Any],
    ) -> None:
        super().__init__(definition)
        self._model = model
        self._loss = model.loss
        self._softmax = softmax
        self._sigmoid = sigmoid

    def forward(
        self, params: Any, batch: spec.Batch, model_state: Any, *, dropout_rate: float | None, **mode: Any
    ) -> tuple[Any, Any]:
        """`Model.forward`, in which a dropout rate of None is the workload's default."""
        rate = (self.definition.default_dropout or 0.0) if dropout_rate is None else dropout_rate
        return self._model.forward(params, batch, model_state, dropout_rate=rate, **mode)

    def loss_fn(
        self, label_batch: Any, logits_batch: Any, mask_batch: Any | None = None, label_smoothing: float = 0.0
    ) -> dict[str, Any]:
        return self._loss(label_batch, logits_batch, mask_batch, label_smoothing)

    def output_activation_fn(self, logits_batch: Any) -> Any:
        if self.loss_type in (LossType.SOFTMAX_CROSS_ENTROPY, LossType.CTC_LOSS):
            return self._softmax(logits_batch)
        if self.loss_type is LossType.SIGMOID_CROSS_ENTROPY:
            return self._sigmoid(logits_batch)
        return logits_batch

    def is_output_params(self, param_key: spec.ParameterKey) -> bool:
        return bool(self._model.is_output_params(param_key))

    def declared_kind(self, name: str) -> spec.ParameterType | None:
        """The kind that the model itself gives the parameter `name`, if it says anything about it."""
        return self._model.param_type(name) if hasattr(self._model, "param_type") else None
