"""The model interface around a PyTorch module that maps images to logits."""

from collections.abc import Mapping
from typing import Any

from workloads.common.torch import losses
from workloads.common.torch.model import TorchModel


class ImageClassifier(TorchModel):
    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `loss` and `accuracy` (1, 0, or NaN where a logit is), each [batch]."""
        labels = batch["targets"]
        classes = labels.argmax(-1) if labels.ndim == 2 else labels
        return {**super().outputs(logits, batch), "accuracy": losses.correct(classes, logits)}
