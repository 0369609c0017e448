"""The small classifier in Flax, and an optax training step for it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import small_model

from algoperf import spec
from workloads.common.jax import batch_norm, dropout, forward, losses, weights


class Network(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train, dropout_rate=0.0):
        hidden = nn.Dense(small_model.NUM_HIDDEN, use_bias=False)(inputs)
        hidden = jax.nn.relu(batch_norm.BatchNorm()(hidden, train=train))
        hidden = dropout.Dropout()(hidden, rate=dropout_rate, train=train)
        return nn.Dense(small_model.NUM_CLASSES)(hidden)


class Model:
    def __init__(self):
        self._network = Network()

    def init(self, rng):
        return forward.init(self._network, rng, jnp.zeros((1, small_model.NUM_FEATURES)), train=False)

    def forward(self, params, batch, model_state, *, train, rng, update_batch_norm, dropout_rate):
        return forward.apply(
            self._network,
            params,
            model_state,
            batch["inputs"],
            train=train,
            update_batch_norm=update_batch_norm,
            rng=rng,
            dropout_rate=dropout_rate,
        )

    def loss(self, labels, logits, weights, label_smoothing):
        return losses.softmax_cross_entropy(labels, logits, weights, label_smoothing)

    def evaluate(self, params, batch, model_state):
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return {
            "loss": losses.softmax_cross_entropy(batch["targets"], logits)["per_example"],
            "accuracy": logits.argmax(-1) == batch["targets"],
        }

    def is_output_params(self, param_key):
        return param_key == "Dense_1"

    def export_weights(self, params, model_state):
        return weights.export_weights(params, model_state)

    def import_weights(self, values, params, model_state):
        return weights.import_weights(values, params, model_state)


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="dropout_rate")
def train_step(workload, update, params, model_state, optimizer_state, batch, rng, dropout_rate=None):
    """Returns (params, model_state, optimizer_state, mean loss)."""

    def loss_fn(params):
        logits, new_state = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=True,
            dropout_rate=dropout_rate,
        )
        result = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        return result["summed"] / result["n_valid_examples"], new_state

    (loss, model_state), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, optimizer_state = update(gradients, optimizer_state, params)
    return optax.apply_updates(params, updates), model_state, optimizer_state, loss


OPTIMIZER = optax.adam(1e-2)


def initial_state(backend, workload):
    """Fresh state of a run; the optimizer's arrays are placed nowhere in particular, as submissions leave them."""
    params, model_state = workload.init_model_fn(backend.as_keys(np.array([0, 1])))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape_tuple), workload.param_shapes)
    return {
        "model_params": params,
        "model_state": model_state,
        "optimizer_state": (OPTIMIZER.init(zeros), OPTIMIZER.update),
    }


def train(backend, workload, state, steps, batches, dropout_rate=None):
    """Trains on `batches` (host, this rank's share) for the steps numbered `steps`; returns (state, losses)."""
    mean_losses = []
    params, model_state, (optimizer_state, update) = state.values()
    for step in steps:
        params, model_state, optimizer_state, loss = train_step(
            workload,
            update,
            params,
            model_state,
            optimizer_state,
            backend.put_batch(batches[step % len(batches)]),
            backend.as_keys(np.array([2, step])),
            dropout_rate,
        )
        mean_losses.append(float(loss))
    new_state = {"model_params": params, "model_state": model_state, "optimizer_state": (optimizer_state, update)}
    return new_state, mean_losses
