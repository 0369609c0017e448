"""The model interface around a PyTorch module that maps images to logits."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from workloads.common.torch import losses, weights
from workloads.common.torch.forward import forward_mode, unwrapped


class ImageClassifier:
    """Implements `algoperf.backends.base.Model` for a classifier.

    Args:
      make_module: builds the module, called as `module(images, **options)`; its `weight_map()` map its state.
      output_names: names of the output layer's parameters.
      takes_dropout: whether the module has an option `dropout_rate`.
    """

    def __init__(
        self, make_module: Callable[[], nn.Module], *, output_names: tuple[str, ...], takes_dropout: bool = False
    ) -> None:
        self._make_module = make_module
        self._output_names = output_names
        self._takes_dropout = takes_dropout

    def init(self, rng: Any) -> tuple[nn.Module, None]:
        del rng  # the global generator is seeded already
        return self._make_module(), None

    def forward(
        self,
        params: nn.Module,
        batch: Mapping[str, Any],
        model_state: Any,
        *,
        train: bool,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float,
    ) -> tuple[Any, Any]:
        del rng
        options = {"dropout_rate": dropout_rate} if self._takes_dropout else {}
        with forward_mode(params, train=train, update_batch_norm=update_batch_norm):
            return params(batch["inputs"], **options), model_state

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        return losses.softmax_cross_entropy(labels, logits, weights, label_smoothing)

    @torch.no_grad()
    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `loss` and `accuracy` (1 or 0), each [batch]."""
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        labels = batch["targets"]
        classes = labels.argmax(-1) if labels.ndim == 2 else labels
        return {
            "loss": losses.softmax_cross_entropy(labels, logits)["per_example"],
            "accuracy": (logits.argmax(-1) == classes).float(),
        }

    def is_output_params(self, param_key: str) -> bool:
        return param_key in self._output_names

    def export_weights(self, params: nn.Module, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, unwrapped(params).weight_map())

    def import_weights(self, weights_: weights.Weights, params: nn.Module, model_state: Any) -> tuple[nn.Module, Any]:
        weights.import_weights(weights_, params, unwrapped(params).weight_map())
        return params, model_state
