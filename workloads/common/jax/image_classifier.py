"""The model interface around a Flax module that maps images to logits."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from workloads.common.jax import forward, losses, weights


class ImageClassifier:
    """Implements `algoperf.backends.base.Model` for a classifier.

    Args:
      module: called as `module(images, train=..., **options)`.
      image_size: height and width of the images of the initialising call.
      output_key: top-level parameter key of the output layer.
      takes_dropout: whether the module has an option `dropout_rate`.
      num_channels: channels of the images.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        image_size: int,
        output_key: str,
        takes_dropout: bool = False,
        num_channels: int = 3,
    ) -> None:
        self._module = module
        self._num_channels = num_channels
        self._image_size = image_size
        self._output_key = output_key
        self._takes_dropout = takes_dropout
        self._evaluate = jax.jit(self._evaluate_untraced)

    def init(self, rng: Any) -> tuple[Any, Any]:
        images = jnp.zeros((1, self._image_size, self._image_size, self._num_channels))
        return forward.init(self._module, rng, images, train=False)

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
        options = {"dropout_rate": dropout_rate} if self._takes_dropout else {}
        return forward.apply(
            self._module,
            params,
            model_state,
            batch["inputs"],
            train=train,
            update_batch_norm=update_batch_norm,
            rng=rng,
            **options,
        )

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        return losses.softmax_cross_entropy(labels, logits, weights, label_smoothing)

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `loss` and `accuracy` (1 or 0), each [batch]."""
        return self._evaluate(params, batch, model_state)

    def _evaluate_untraced(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        labels = batch["targets"]
        classes = labels.argmax(-1) if labels.ndim == 2 else labels
        return {
            "loss": losses.softmax_cross_entropy(labels, logits)["per_example"],
            "accuracy": (logits.argmax(-1) == classes).astype(jnp.float32),
        }

    def is_output_params(self, param_key: str) -> bool:
        return param_key == self._output_key

    def export_weights(self, params: Any, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, model_state)

    def import_weights(self, weights_: weights.Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return weights.import_weights(weights_, params, model_state)
