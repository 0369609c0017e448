"""FrameworkAdapter of a PyTorch model."""

import copy
from types import ModuleType
from typing import Any

import numpy as np
import torch

from algoperf.backends.base import Model, Weights
from algoperf.backends.torch import set_matmul_precision
from algoperf.backends.torch_workload import TorchWorkload
from algoperf.definition import WorkloadDefinition
from algoperf.edition import MatmulPrecision
from algoperf.pytorch_utils import pytorch_setup
from algoperf.spec import Batch
from algoperf.testing.conformance.adapter import Outputs, Pass, State, arrays_of, map_arrays


def make_adapter(model: Model) -> "TorchAdapter":
    """An adapter on the GPU where there is one, in float32 throughout."""
    device = pytorch_setup()[2]
    if device.type == "cuda":
        set_matmul_precision(MatmulPrecision.FLOAT32)
    return TorchAdapter(model, device)


class TorchAdapter:
    """Implements `algoperf.testing.conformance.adapter.FrameworkAdapter`."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.platform = device.type

    def init(self, seed: int) -> State:
        torch.manual_seed(seed)
        with self._device:
            return State(*self._model.init(None))

    def training_pass(
        self, state: State, batch: Batch, *, dropout_rate: float = 0.0, label_smoothing: float = 0.0, seed: int = 0
    ) -> Pass:
        torch.manual_seed(seed)
        state.params.zero_grad(set_to_none=True)
        logits, losses, loss, new_state = self._losses(
            state, batch, train=True, update_batch_norm=True, dropout_rate=dropout_rate, label_smoothing=label_smoothing
        )
        loss.backward()
        return self._pass(state, loss, logits, losses, new_state, self._gradients(state.params))

    def forward_pass(
        self,
        state: State,
        batch: Batch,
        *,
        train: bool = False,
        update_batch_norm: bool = True,
        dropout_rate: float = 0.0,
        seed: int = 0,
    ) -> Pass:
        torch.manual_seed(seed)
        logits, losses, loss, new_state = self._losses(
            state,
            batch,
            train=train,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
            label_smoothing=0.0,
        )
        return self._pass(state, loss, logits, losses, new_state, {})

    def _losses(
        self,
        state: State,
        batch: Batch,
        *,
        train: bool,
        update_batch_norm: bool,
        dropout_rate: float,
        label_smoothing: float,
    ) -> tuple[Any, Any, Any, Any]:
        placed = self._placed(batch)
        logits, new_state = self._model.forward(
            state.params,
            placed,
            state.model_state,
            train=train,
            rng=None,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
        )
        losses = self._model.loss(placed["targets"], logits, placed.get("weights"), label_smoothing)
        return logits, losses, losses["summed"] / losses["n_valid_examples"], new_state

    def _pass(self, state: State, loss: Any, logits: Any, losses: Any, new_state: Any, gradients: Weights) -> Pass:
        return Pass(
            logits=[array.detach().cpu().numpy() for array in arrays_of(logits)],
            loss=float(loss.detach()),
            losses={name: value.detach().cpu().numpy() for name, value in losses.items()},
            weights=self._model.export_weights(state.params, new_state),
            gradients=gradients,
        )

    def _gradients(self, module: torch.nn.Module) -> Weights:
        """Gradients under neutral names: those of a copy whose parameters are the gradients of `module`."""
        holder = copy.deepcopy(module)
        with torch.no_grad():
            for target, source in zip(holder.parameters(), module.parameters(), strict=True):
                target.copy_(torch.zeros_like(target) if source.grad is None else source.grad)
        exported = self._model.export_weights(holder, None)
        return {name: value for name, value in exported.items() if name.startswith("params/")}

    def evaluate(self, state: State, batch: Batch) -> Outputs:
        outputs = self._model.evaluate(state.params, self._placed(batch), state.model_state)
        return {name: value.cpu().numpy() for name, value in outputs.items()}

    def export_weights(self, state: State) -> Weights:
        return self._model.export_weights(*state)

    def import_weights(self, weights: Weights, seed: int = 0) -> State:
        return State(*self._model.import_weights(weights, *self.init(seed)))

    def workload(self, definition: WorkloadDefinition, module: ModuleType) -> TorchWorkload:
        return TorchWorkload(definition, module.build(definition), torch.device("cpu"))

    def is_output_parameter(self) -> dict[str, bool]:
        names = [name for name, _ in self.init(0).params.named_parameters()]
        return {name: self._model.is_output_params(name) for name in names}

    def _placed(self, batch: Batch) -> Any:
        return map_arrays(lambda array: torch.from_numpy(np.array(array)).to(self._device), batch)
