"""The workload that a PyTorch submission sees."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from algoperf import spec
from algoperf.backends import torch_memory, torch_module, torch_random
from algoperf.backends.base import Model
from algoperf.backends.model_workload import ModelWorkload
from algoperf.backends.torch_microbatches import MicrobatchedModel
from algoperf.definition import WorkloadDefinition
from algoperf.param_types import parameter_type
from algoperf.pytorch_utils import unwrapped


class TorchWorkload(ModelWorkload):
    """A workload whose parameters are an `nn.Module` on `device` and whose batches are this process's share."""

    def __init__(self, definition: WorkloadDefinition, model: Model, device: torch.device) -> None:
        super().__init__(definition, model, softmax=functools.partial(torch.softmax, dim=-1), sigmoid=torch.sigmoid)
        self.device = device
        self._wrap: Callable[[nn.Module], nn.Module] | None = None

    @functools.cached_property
    def abstract_module(self) -> nn.Module:
        """The module without values; where it cannot be built so, with values drawn apart from all other numbers."""
        with torch.random.fork_rng(devices=[]):
            try:
                with torch.device("meta"):
                    module: nn.Module = self._model.init(None)[0]
            except (NotImplementedError, RuntimeError, TypeError):
                with torch.device("cpu"):
                    module = self._model.init(None)[0]
        return module

    @functools.cached_property
    def param_shapes(self) -> spec.ParameterShapeTree:
        """Shapes by parameter name."""
        return {name: spec.ShapeTuple(tensor.shape) for name, tensor in self.abstract_module.named_parameters()}

    @functools.cached_property
    def model_params_types(self) -> spec.ParameterTypeTree:
        """Kinds by parameter name; a layer's class counts before its name."""
        owners = dict(self.abstract_module.named_modules())
        return {name: self._param_type(name, owners) for name, _ in self.abstract_module.named_parameters()}

    def _param_type(self, name: str, owners: dict[str, nn.Module]) -> spec.ParameterType:
        own = self._model.param_type(name) if hasattr(self._model, "param_type") else None
        if isinstance(own, spec.ParameterType):
            return own
        owner = owners[name.rpartition(".")[0]]
        return parameter_type(name.split("."), layer=type(owner).__name__)

    def init_model_fn(self, rng: spec.RandomState) -> spec.ModelInitState:
        """Seeds PyTorch from `rng` and returns (module on the device, model state); equal in every process.

        Once the benchmark has wrapped a module for training, further ones are wrapped alike, which under torchrun all
        processes must ask for.
        """
        torch.manual_seed(torch_random.seed_of(rng))
        with torch.device(self.device):
            module, model_state = self._model.init(rng)
        return module if self._wrap is None else self._wrap(module), model_state

    def wrap_with(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """From now on `init_model_fn` returns what `wrap` makes of the module."""
        self._wrap = wrap

    def model_fn(
        self,
        params: spec.ParameterContainer,
        augmented_and_preprocessed_input_batch: spec.Batch,
        model_state: spec.ModelAuxiliaryState,
        mode: spec.ForwardPassMode,
        rng: spec.RandomState,
        update_batch_norm: bool,
        dropout_rate: float | None = None,
    ) -> tuple[spec.Tensor, spec.ModelAuxiliaryState]:
        """Returns (logits of this process's examples, model state).

        Args:
          params: the module, wrapped as the benchmark handed it out; its running statistics may change.
          mode: alone decides between training and evaluation (the latter without gradients).
          rng: unused; the benchmark seeds PyTorch's generators before each step.
          update_batch_norm: in training, whether running statistics change.
          dropout_rate: None is the workload's default.
        """
        return self.forward(
            params,
            augmented_and_preprocessed_input_batch,
            model_state,
            train=mode == spec.ForwardPassMode.TRAIN,
            rng=rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
        )

    def memory_shortage(self, batch: spec.Batch, available_bytes: int) -> str | None:
        """A warning where training on batches like `batch` (tensors) seems to take more memory than there is.

        None as well for a model that looks at values, which the meta device does not have.
        """
        model = self._model
        if isinstance(model, MicrobatchedModel):
            batch = torch_memory.first_rows(batch, model.max_rows)
            model = model.whole
        try:
            return torch_memory.shortage(model, batch, available_bytes)
        except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return None

    def compile_loss(self) -> None:
        self._loss = torch.compile(self._model.loss)

    @functools.cached_property
    def _own_module(self) -> nn.Module:
        devices = [self.device.index] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.device(self.device):
            module: nn.Module = self._model.init(None)[0]
        return module

    def evaluation_module(self, params: nn.Module) -> nn.Module:
        """The workload's own module with the values of `params`, which may be wrapped: same memory, but none of the
        hooks, methods and classes that a submission may have given its module.

        Raises:
          WrongModelError: names or shapes of parameters or buffers differ.
        """
        torch_module.share_values(unwrapped(params), self._own_module)
        return self._own_module

    @torch.no_grad()
    def evaluate_batch(self, module: nn.Module, batch: spec.Batch, model_state: Any) -> dict[str, torch.Tensor]:
        """`Model.evaluate` in evaluation mode, without gradients; leaves the module in the mode it was in."""
        was_training = module.training
        module.eval()
        try:
            return self._model.evaluate(module, batch, model_state)
        finally:
            module.train(was_training)
