"""The model in PyTorch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from algoperf.backends.base import Weights
from algoperf.definition import WorkloadDefinition


def build(definition: WorkloadDefinition) -> "TorchToyModel":
    return TorchToyModel(definition.model.num_features)


class TorchToyModel:
    """`params` is an `nn.Module` with one linear layer, maybe wrapped."""

    def __init__(self, num_features: int) -> None:
        self._num_features = num_features

    def init(self, rng: Any) -> tuple[Any, Any]:
        layer = nn.Linear(self._num_features, 1)
        nn.init.normal_(layer.weight, std=self._num_features**-0.5)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(layer), None

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
        params.train(train)
        with torch.set_grad_enabled(train):
            return params(batch["inputs"])[:, 0], model_state

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        weights = torch.ones_like(logits) if weights is None else weights
        per_example = weights * (logits - labels) ** 2
        return {"summed": per_example.sum(), "n_valid_examples": weights.sum(), "per_example": per_example}

    @torch.no_grad()
    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        params.eval()
        return {"loss": (params(batch["inputs"])[:, 0] - batch["targets"]) ** 2}

    def is_output_params(self, param_key: str) -> bool:
        return param_key in ("0.weight", "0.bias")

    def export_weights(self, params: Any, model_state: Any) -> Weights:
        layer = _layer(params)
        return {
            "params/Dense_0/kernel": layer.weight.detach().cpu().numpy().T.copy(),
            "params/Dense_0/bias": layer.bias.detach().cpu().numpy().copy(),
        }

    @torch.no_grad()
    def import_weights(self, weights: Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        layer = _layer(params)
        layer.weight.copy_(torch.from_numpy(weights["params/Dense_0/kernel"].T.copy()))
        layer.bias.copy_(torch.from_numpy(weights["params/Dense_0/bias"].copy()))
        return params, model_state


def _layer(params: nn.Module) -> nn.Linear:
    return next(module for module in params.modules() if isinstance(module, nn.Linear))
