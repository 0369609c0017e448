"""The small classifier in PyTorch, and a training loop for it."""

import small_model
import torch
from torch import nn

from algoperf import spec
from algoperf.harness.seeds import Seeds
from workloads.common.torch import dropout, forward, initializers, losses, weights
from workloads.common.torch.batch_norm import BatchNorm

TABLE = [
    *weights.linear("hidden", "Dense_0", bias=False),
    *weights.batch_norm("bn", "BatchNorm_0"),
    *weights.linear("output", "Dense_1"),
]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(small_model.NUM_FEATURES, small_model.NUM_HIDDEN, bias=False)
        self.bn = BatchNorm(small_model.NUM_HIDDEN)
        self.dropout = dropout.Dropout()
        self.output = nn.Linear(small_model.NUM_HIDDEN, small_model.NUM_CLASSES)
        initializers.lecun_normal_modules_(self)

    def forward(self, inputs, dropout_rate):
        return self.output(self.dropout(self.bn(self.hidden(inputs)).relu(), dropout_rate))


class NetworkWithUnusedLayer(Network):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(2, 2)


class Model:
    def __init__(self, network=Network):
        self._network = network

    def init(self, rng):
        return self._network(), None

    def forward(self, params, batch, model_state, *, train, rng, update_batch_norm, dropout_rate):
        with forward.forward_mode(params, train=train, update_batch_norm=update_batch_norm):
            return params(batch["inputs"], dropout_rate), model_state

    def loss(self, labels, logits, weights, label_smoothing):
        return losses.softmax_cross_entropy(labels, logits, weights, label_smoothing)

    def evaluate(self, params, batch, model_state):
        logits = params(batch["inputs"], 0.0)
        return {
            "loss": losses.softmax_cross_entropy(batch["targets"], logits)["per_example"],
            "accuracy": logits.argmax(-1) == batch["targets"],
        }

    def is_output_params(self, param_key):
        return param_key.startswith("output.")

    def export_weights(self, params, model_state):
        return weights.export_weights(params, TABLE)

    def import_weights(self, values, params, model_state):
        weights.import_weights(values, params, TABLE)
        return params, model_state


def train_step(backend, workload, params, optimizer, batch, dropout_rate=None):
    """One step with gradients of the mean over all processes' examples; returns that mean loss."""
    optimizer.zero_grad()
    logits, _ = workload.model_fn(
        params,
        batch,
        None,
        spec.ForwardPassMode.TRAIN,
        None,
        update_batch_norm=True,
        dropout_rate=dropout_rate,
    )
    result = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    totals = torch.stack([result["summed"].detach(), result["n_valid_examples"]])
    if backend.world_size > 1:
        torch.distributed.all_reduce(totals)
    (result["summed"] * backend.world_size / totals[1]).backward()
    optimizer.step()
    return (totals[0] / totals[1]).item()


def train(backend, workload, num_steps, batches, dropout_rate=None, initial_weights=None):
    """Trains from scratch on `batches` (host, this rank's share); returns (params, losses)."""
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    if initial_weights is not None:
        weights.import_weights(initial_weights, params, TABLE)
    params = backend.prepare_model(workload, params, compile_model=False, sample_batch=lambda: batches[0])
    optimizer = torch.optim.Adam(params.parameters(), lr=1e-2)
    mean_losses = []
    for step in range(num_steps):
        backend.seed_global(5, step)
        batch = backend.put_batch(batches[step % len(batches)])
        mean_losses.append(train_step(backend, workload, params, optimizer, batch, dropout_rate))
    return params, mean_losses
