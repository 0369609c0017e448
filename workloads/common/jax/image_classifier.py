"""The model interface around a Flax module that maps images to logits."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import losses
from workloads.common.jax.model import FlaxModel


class ImageClassifier(FlaxModel):
    """A classifier of images [batch, `definition.data.image_size`, `definition.data.image_size`, `num_channels`]."""

    def __init__(
        self, definition: WorkloadDefinition, module: nn.Module, *, output_layer: str, num_channels: int = 3
    ) -> None:
        size = definition.data.image_size
        images = np.zeros((1, size, size, num_channels), np.float32)
        super().__init__(definition, module, example=(images,), output_layer=output_layer)

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `loss` and `accuracy` (1, 0, or NaN where a logit is), each [batch]."""
        labels = batch["targets"]
        classes = labels.argmax(-1) if labels.ndim == 2 else labels
        return {**super().outputs(logits, batch), "accuracy": losses.correct(classes, logits)}
