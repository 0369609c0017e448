"""Graph network in JAX.

Shapes: S shards (local devices), each with room for G graphs, N nodes and E edges. Indices are local to their shard, so
that every array can be split over devices on axis 0 and no message crosses devices.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import losses
from workloads.common.jax.dropout import Dropout
from workloads.common.jax.model import FlaxModel
from workloads.ogbg.definition import NUM_EDGE_FEATURES, NUM_NODE_FEATURES, GraphNetworkConfig

_LAYER_NORM_EPSILON = 1e-6
_ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {"relu": nn.relu, "gelu": nn.gelu, "silu": nn.silu}


def _gather(values: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of `values` [S, size, width] by `index` [S, n]; returns [S, n, width]."""
    rows: jax.Array = jax.vmap(lambda of_shard, at: jnp.take(of_shard, at, axis=0))(values, index)
    return rows


def _sum_by(values: jax.Array, index: jax.Array, size: int, *, is_sorted: bool = False) -> jax.Array:
    """Sums `values` [S, n, width] into `size` slots by `index` [S, n]; returns [S, size, width]."""
    return jax.vmap(lambda v, i: jax.ops.segment_sum(v, i, num_segments=size, indices_are_sorted=is_sorted))(
        values, index
    )


def _owners(counts: jax.Array, total: int) -> jax.Array:
    """Returns [S, total]: the graph of each row where graph g owns the next counts[:, g] rows; padding belongs to G."""
    num_graphs = counts.shape[1]
    padding = total - counts.sum(1, keepdims=True)
    counts = jnp.concatenate([counts, padding], axis=1)
    return jax.vmap(lambda c: jnp.repeat(jnp.arange(num_graphs + 1), c, total_repeat_length=total))(counts)


class GraphNetwork(nn.Module):
    """Edge, node and global updates with sum aggregation; returns the logits of every graph."""

    model: GraphNetworkConfig

    @nn.compact
    def __call__(self, graphs: Mapping[str, jax.Array], *, train: bool, dropout_rate: Any = 0.0) -> jax.Array:
        """Maps the arrays described in `workloads.ogbg.data` to logits [S * G, num_tasks]."""
        model = self.model
        senders, receivers = graphs["senders"], graphs["receivers"]
        num_shards, num_graphs = graphs["n_node"].shape
        num_nodes, num_edges = graphs["nodes"].shape[1], graphs["edges"].shape[1]
        node_graph, edge_graph = _owners(graphs["n_node"], num_nodes), _owners(graphs["n_edge"], num_edges)

        # One more slot than graphs: padding nodes and edges form a graph of their own.
        globals_ = jnp.zeros((num_shards, num_graphs + 1, model.num_tasks))
        nodes = nn.Dense(model.latent_width, name="node_embedding")(graphs["nodes"])
        edges = nn.Dense(model.latent_width, name="edge_embedding")(graphs["edges"])
        layer = 0
        for _ in range(model.num_steps):

            def update(*parts: jax.Array) -> jax.Array:
                nonlocal layer
                x = jnp.concatenate(parts, axis=-1)
                for width in model.hidden_widths:
                    x = nn.Dense(width, name=f"Dense_{layer}")(x)
                    x = nn.LayerNorm(epsilon=_LAYER_NORM_EPSILON, name=f"LayerNorm_{layer}")(x)
                    x = Dropout()(_ACTIVATIONS[model.activation](x), rate=dropout_rate, train=train)
                    layer += 1
                return x

            edges = update(edges, _gather(nodes, senders), _gather(nodes, receivers), _gather(globals_, edge_graph))
            sent, received = _sum_by(edges, senders, num_nodes), _sum_by(edges, receivers, num_nodes)
            nodes = update(nodes, sent, received, _gather(globals_, node_graph))
            globals_ = update(
                _sum_by(nodes, node_graph, num_graphs + 1, is_sorted=True),
                _sum_by(edges, edge_graph, num_graphs + 1, is_sorted=True),
                globals_,
            )
        logits = nn.Dense(model.num_tasks, name=_output_name(model))(globals_[:, :num_graphs])
        return logits.reshape(num_shards * num_graphs, model.num_tasks)


def _output_name(model: GraphNetworkConfig) -> str:
    return f"Dense_{3 * model.num_steps * len(model.hidden_widths)}"


class GraphModel(FlaxModel):
    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> losses.Losses:
        """Losses [graphs, tasks]; `n_valid_examples` counts labels that are there, not graphs."""
        return losses.sigmoid_cross_entropy(labels, logits, weights, label_smoothing)

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `logits` and `loss`, each [graphs, tasks]; a missing label has no loss."""
        return {"logits": logits, "loss": self.loss(batch["targets"], logits, batch["weights"], 0.0)["per_example"]}


def build(definition: WorkloadDefinition) -> GraphModel:
    model = definition.model
    one = np.ones((1, 1), np.int32)
    graphs = {
        "nodes": np.zeros((1, 1, NUM_NODE_FEATURES), np.float32),
        "edges": np.zeros((1, 1, NUM_EDGE_FEATURES), np.float32),
        "senders": 0 * one,
        "receivers": 0 * one,
        "n_node": one,
        "n_edge": one,
    }
    return GraphModel(definition, GraphNetwork(model), example=(graphs,), output_layer=_output_name(model))
