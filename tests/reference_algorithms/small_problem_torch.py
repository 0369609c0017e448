"""The small problem as a PyTorch workload."""

from typing import Any

import numpy as np
import small_problem
import torch
import torch.nn.functional as F

from algoperf import spec
from algoperf.pytorch_utils import unwrapped

_NAMES = {
    "embedding/embedding": "embedding.weight",
    "conv/kernel": "conv.weight",
    "conv/bias": "conv.bias",
    "hidden/kernel": "hidden.weight",
    "hidden/bias": "hidden.bias",
    "norm/scale": "norm_scale",
    "output/kernel": "output.weight",
    "output/bias": "output.bias",
}


class SmallModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(small_problem.NUM_TOKENS, 6)
        self.conv = torch.nn.Conv2d(2, 4, 3)
        self.hidden = torch.nn.Linear(10, 8)
        self.norm_scale = torch.nn.Parameter(torch.zeros(8))
        self.output = torch.nn.Linear(8, small_problem.NUM_CLASSES)
        self.register_buffer("running_mean", torch.zeros(8))

    def forward(self, inputs: dict[str, torch.Tensor], update_batch_norm: bool) -> torch.Tensor:
        image = inputs["image"].permute(0, 3, 1, 2)
        conv = torch.tanh(self.conv(image)).mean((2, 3))
        features = torch.cat([conv, self.embedding(inputs["token"])], -1)
        hidden = torch.tanh(self.hidden(features))
        if update_batch_norm:
            self.running_mean.lerp_(hidden.detach().mean(0), 0.1)
        return self.output(hidden * self.norm_scale)


class SmallTorchWorkload(spec.Workload):
    def __init__(self) -> None:
        super().__init__(small_problem.DEFINITION)

    @property
    def param_shapes(self) -> Any:
        return {name: spec.ShapeTuple(tuple(p.shape)) for name, p in SmallModel().named_parameters()}

    @property
    def model_params_types(self) -> Any:
        return {_NAMES[name]: kind for name, kind in small_problem.TYPES.items()}

    def init_model_fn(self, rng: Any) -> Any:
        del rng
        model = SmallModel()
        load(model, small_problem.initial_params())
        return model, None

    def model_fn(
        self,
        params,
        augmented_and_preprocessed_input_batch,
        model_state,
        mode,
        rng,
        update_batch_norm,
        dropout_rate=None,
    ):
        return params(augmented_and_preprocessed_input_batch["inputs"], update_batch_norm), model_state

    def loss_fn(self, label_batch, logits_batch, mask_batch=None, label_smoothing=0.0):
        losses = F.cross_entropy(logits_batch, label_batch, reduction="none", label_smoothing=label_smoothing)
        losses = losses * mask_batch
        return {"summed": losses.sum(), "n_valid_examples": mask_batch.sum(), "per_example": losses}

    def output_activation_fn(self, logits_batch: Any) -> Any:
        return torch.softmax(logits_batch, -1)

    def is_output_params(self, param_key: str) -> bool:
        return param_key in ("output.weight", "output.bias")


def batch(step: int) -> dict[str, Any]:
    """The NumPy batch as tensors."""
    plain = small_problem.batch(step)
    inputs = {name: torch.from_numpy(value) for name, value in plain["inputs"].items()}
    return {"inputs": inputs} | {name: torch.from_numpy(plain[name]) for name in ("targets", "weights")}


def load(model: torch.nn.Module, params: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        for name, value in params.items():
            model.get_parameter(_NAMES[name]).copy_(torch.tensor(_transposed(name, value)))


def flat(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Parameters under the JAX names, in the JAX layout."""
    model = unwrapped(model)
    values = {name: model.get_parameter(torch_name).detach().numpy() for name, torch_name in _NAMES.items()}
    return {name: _untransposed(name, value) for name, value in values.items()}


def _transposed(name: str, value: np.ndarray) -> np.ndarray:
    if not name.endswith("kernel"):
        return value
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def _untransposed(name: str, value: np.ndarray) -> np.ndarray:
    if not name.endswith("kernel"):
        return value.copy()
    return (value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T).copy()
