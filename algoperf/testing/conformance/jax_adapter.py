"""FrameworkAdapter of a JAX model."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algoperf.backends.base import Model, Weights
from algoperf.backends.jax_workload import JaxWorkload
from algoperf.definition import WorkloadDefinition
from algoperf.spec import Batch
from algoperf.testing.conformance.adapter import Outputs, Pass, State, arrays_of, map_arrays

# Compiling takes most of the time of the suite and each program runs a few times only.
_COMPILE_FAST = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    **({} if jax.__version_info__ >= (0, 11) else {"xla_cpu_use_fusion_emitters": False}),  # unknown from then on
}


def make_adapter(model: Model) -> "JaxAdapter":
    return JaxAdapter(model)


class JaxAdapter:
    """Implements `algoperf.testing.conformance.adapter.FrameworkAdapter`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.platform = jax.default_backend()
        self._init = jax.jit(model.init, compiler_options=_COMPILE_FAST)
        self._training_pass = jax.jit(
            jax.value_and_grad(self._objective, has_aux=True),
            static_argnames=("train", "update_batch_norm"),
            compiler_options=_COMPILE_FAST,
        )
        self._forward_pass = jax.jit(
            self._objective, static_argnames=("train", "update_batch_norm"), compiler_options=_COMPILE_FAST
        )
        self._evaluate = jax.jit(model.evaluate, compiler_options=_COMPILE_FAST)

    def _objective(
        self,
        params: Any,
        model_state: Any,
        batch: Any,
        rng: Any,
        dropout_rate: Any,
        label_smoothing: Any,
        train: bool,
        update_batch_norm: bool,
    ) -> tuple[Any, Any]:
        logits, new_state = self._model.forward(
            params,
            batch,
            model_state,
            train=train,
            rng=rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
        )
        losses = self._model.loss(batch["targets"], logits, batch.get("weights"), label_smoothing)
        return losses["summed"] / losses["n_valid_examples"], (logits, losses, new_state)

    def init(self, seed: int) -> State:
        return State(*self._init(jax.random.PRNGKey(seed)))

    def training_pass(
        self, state: State, batch: Batch, *, dropout_rate: float = 0.0, label_smoothing: float = 0.0, seed: int = 0
    ) -> Pass:
        with jax.default_matmul_precision("highest"):
            (loss, (logits, losses, new_state)), gradients = self._training_pass(
                *_on_host(state), _placed(batch), jax.random.PRNGKey(seed), dropout_rate, label_smoothing, True, True
            )
        named = self._model.export_weights(gradients, None)
        return self._pass(state, loss, logits, losses, new_state, named)

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
        with jax.default_matmul_precision("highest"):
            loss, (logits, losses, new_state) = self._forward_pass(
                *_on_host(state), _placed(batch), jax.random.PRNGKey(seed), dropout_rate, 0.0, train, update_batch_norm
            )
        return self._pass(state, loss, logits, losses, new_state, {})

    def _pass(self, state: State, loss: Any, logits: Any, losses: Any, new_state: Any, gradients: Weights) -> Pass:
        return Pass(
            logits=[np.asarray(array) for array in arrays_of(logits)],
            loss=float(loss),
            losses={name: np.asarray(value) for name, value in losses.items()},
            weights=self._model.export_weights(state.params, new_state),
            gradients=gradients,
        )

    def evaluate(self, state: State, batch: Batch) -> Outputs:
        params, model_state = _on_host(state)
        with jax.default_matmul_precision("highest"):
            outputs = self._evaluate(params, _placed(batch), model_state)
        return {name: np.asarray(value) for name, value in outputs.items()}

    def export_weights(self, state: State) -> Weights:
        return self._model.export_weights(*state)

    def import_weights(self, weights: Weights, seed: int = 0) -> State:
        return State(*self._model.import_weights(weights, *self.init(seed)))

    def workload(self, definition: WorkloadDefinition, module: ModuleType) -> JaxWorkload:
        return JaxWorkload(definition, module.build(definition))

    def is_output_parameter(self) -> dict[str, bool]:
        params, _ = jax.eval_shape(self._model.init, np.zeros(2, np.uint32))
        return {key: self._model.is_output_params(key) for key in params}


def _on_host(state: State) -> State:
    """The state as NumPy arrays: one program serves fresh, imported and restored states, wherever they were placed."""
    return State(*jax.device_get(tuple(state)))


def _placed(batch: Batch) -> Any:
    return map_arrays(jnp.asarray, batch)
