"""The workload that a JAX submission sees."""

import functools
import warnings
from typing import Any

import jax
import numpy as np

from algoperf import jax_sharding_utils, spec
from algoperf.backends import jax_memory
from algoperf.backends.base import Model, check_shapes
from algoperf.backends.jax_microbatches import MicrobatchedModel
from algoperf.backends.model_workload import ModelWorkload
from algoperf.definition import WorkloadDefinition
from algoperf.param_types import parameter_type


class JaxWorkload(ModelWorkload):
    """A workload with parameters in a nested dict, whole on every device, and batches split over the devices."""

    def __init__(self, definition: WorkloadDefinition, model: Model) -> None:
        super().__init__(definition, model, softmax=jax.nn.softmax, sigmoid=jax.nn.sigmoid)

    @functools.cached_property
    def _abstract_params(self) -> Any:
        return jax.eval_shape(self._model.init, np.zeros(2, np.uint32))[0]

    @functools.cached_property
    def param_shapes(self) -> spec.ParameterShapeTree:
        return jax.tree.map(lambda leaf: spec.ShapeTuple(leaf.shape), self._abstract_params)

    @functools.cached_property
    def model_params_types(self) -> spec.ParameterTypeTree:
        return jax.tree_util.tree_map_with_path(self._param_type, self._abstract_params)

    def _param_type(self, path: tuple[Any, ...], _: Any) -> spec.ParameterType:
        names = [str(entry.key) for entry in path]
        chosen = self.declared_kind("/".join(names))
        return chosen if chosen is not None else parameter_type(names)

    def init_model_fn(self, rng: spec.RandomState) -> spec.ModelInitState:
        """Returns (params, model_state), equal on every device."""
        init = jax.jit(self._model.init, out_shardings=jax_sharding_utils.get_replicate_sharding())
        params, model_state = init(rng)
        return params, model_state

    def model_fn(
        self,
        params: spec.ParameterContainer,
        augmented_and_preprocessed_input_batch: spec.Batch,
        model_state: spec.ModelAuxiliaryState,
        mode: spec.ForwardPassMode,
        rng: spec.RandomState,
        update_batch_norm: bool,
        dropout_rate: float | None = None,
        use_running_average_bn: bool | None = None,
    ) -> tuple[spec.Tensor, spec.ModelAuxiliaryState]:
        """Returns (logits, new model state); pure, may be traced.

        Args:
          augmented_and_preprocessed_input_batch: dict of arrays with the global batch on axis 0.
          mode: alone decides between training and evaluation.
          update_batch_norm: in training, whether running statistics change.
          dropout_rate: may be traced; None is the workload's default.
          use_running_average_bn: accepted for AlgoPerf v0.6 submissions. True in training runs a model that has
            batch statistics in evaluation mode; None and False change nothing.
        """
        train = mode == spec.ForwardPassMode.TRAIN
        if train and use_running_average_bn and model_state:
            warnings.warn(
                "use_running_average_bn=True in training evaluates the model with running statistics, "
                "and without dropout or augmentation",
                stacklevel=2,
            )
            train = False
        return self.forward(
            params,
            augmented_and_preprocessed_input_batch,
            model_state,
            train=train,
            rng=rng,
            update_batch_norm=update_batch_norm,
            dropout_rate=dropout_rate,
        )

    def check_params(self, params: spec.ParameterContainer) -> None:
        """Compares names and shapes of parameters with `param_shapes`.

        Raises:
          WrongModelError: names the first difference.
        """
        check_shapes(_shapes(params), _shapes(self._abstract_params))

    def memory_shortage(self, batch: spec.Batch, available_bytes: int) -> str | None:
        """A warning where training on batches like `batch` seems to take more memory than there is.

        None as well for a model that looks at values, which a traced one does not have. Nothing is compiled.

        Args:
          batch: arrays of the size that one device is given.
        """
        model = self._model
        if isinstance(model, MicrobatchedModel):
            batch, model = jax_memory.first_rows(batch, model.max_rows), model.whole
        try:
            return jax_memory.shortage(model, batch, available_bytes)
        except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return None

    @functools.cached_property
    def evaluate_batch(self) -> Any:
        """Jitted `Model.evaluate`: (params, batch, model_state) to arrays split over the devices on axis 0."""

        def evaluate(params: Any, batch: spec.Batch, model_state: Any) -> Any:  # JAX compiles it for this object alone
            return self._model.evaluate(params, batch, model_state)

        return jax.jit(evaluate, out_shardings=jax_sharding_utils.get_batch_dim_sharding())


def _shapes(params: Any) -> dict[str, tuple[int, ...] | None]:
    """Shapes by path; None for a leaf without one."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): getattr(leaf, "shape", None) for path, leaf in leaves
    }
