"""Graph network in PyTorch. Shapes as in `workloads.ogbg.jax_model`: S shards, G graphs, N nodes and E edges each."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import losses, weights
from workloads.common.torch.dropout import Dropout
from workloads.common.torch.initializers import lecun_normal_modules_
from workloads.common.torch.model import TorchModel
from workloads.ogbg.definition import NUM_EDGE_FEATURES, NUM_NODE_FEATURES, GraphNetworkConfig

_LAYER_NORM_EPSILON = 1e-6


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": _gelu_tanh, "silu": F.silu}


def _sum_by(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sums `values` [n, width] into `size` slots by `index` [n]."""
    return values.new_zeros((size, values.shape[1])).index_add(0, index, values)


def _slots(counts: Tensor, total: int) -> Tensor:
    """Returns [S * total]: the slot of each row, with G + 1 slots per shard. Graph g owns the next counts[:, g] rows of
    its shard; the rest is padding and belongs to the last slot."""
    padding = total - counts.sum(1, keepdim=True)
    counts = torch.cat([counts, padding], dim=1)
    slots = torch.arange(counts.numel(), device=counts.device)
    return slots.repeat_interleave(counts.flatten(), output_size=len(counts) * total)


class Update(nn.Module):
    """Dense, LayerNorm, activation and dropout for each hidden width."""

    def __init__(self, in_width: int, widths: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self._activation = _ACTIVATIONS[activation]
        self._num_layers = len(widths)
        for number, width in enumerate(widths):
            self.add_module(f"dense_{number}", nn.Linear(in_width, width))
            self.add_module(f"norm_{number}", nn.LayerNorm(width, eps=_LAYER_NORM_EPSILON))
            in_width = width
        self._dropout = Dropout()

    def forward(self, *parts: Tensor, dropout_rate: float) -> Tensor:
        x = torch.cat(parts, dim=-1)
        for number in range(self._num_layers):
            x = self.get_submodule(f"norm_{number}")(self.get_submodule(f"dense_{number}")(x))
            x = self._dropout(self._activation(x), dropout_rate)
        return x

    def weight_map(self, prefix: str, first_layer: int) -> list[weights.Entry]:
        entries = []
        for number in range(self._num_layers):
            entries += weights.linear(f"{prefix}.dense_{number}", f"Dense_{first_layer + number}")
            entries += weights.norm(f"{prefix}.norm_{number}", f"LayerNorm_{first_layer + number}")
        return entries


class MessagePassing(nn.Module):
    """One edge, node and global update."""

    def __init__(self, model: GraphNetworkConfig, in_width: int, globals_width: int) -> None:
        super().__init__()
        hidden = model.hidden_widths[-1]

        def update(width: int) -> Update:
            return Update(width, model.hidden_widths, model.activation)

        self.update_edge_fn = update(3 * in_width + globals_width)
        self.update_node_fn = update(in_width + 2 * hidden + globals_width)
        self.update_global_fn = update(2 * hidden + globals_width)

    def forward(
        self,
        nodes: Tensor,
        edges: Tensor,
        globals_: Tensor,
        senders: Tensor,
        receivers: Tensor,
        node_slot: Tensor,
        edge_slot: Tensor,
        dropout_rate: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rate = {"dropout_rate": dropout_rate}
        edges = self.update_edge_fn(edges, nodes[senders], nodes[receivers], globals_[edge_slot], **rate)
        sent, received = _sum_by(edges, senders, len(nodes)), _sum_by(edges, receivers, len(nodes))
        nodes = self.update_node_fn(nodes, sent, received, globals_[node_slot], **rate)
        node_sums = _sum_by(nodes, node_slot, len(globals_))
        edge_sums = _sum_by(edges, edge_slot, len(globals_))
        return nodes, edges, self.update_global_fn(node_sums, edge_sums, globals_, **rate)

    def weight_map(self, prefix: str, first_layer: int, layers_per_update: int) -> list[weights.Entry]:
        entries = []
        for number, name in enumerate(("update_edge_fn", "update_node_fn", "update_global_fn")):
            update = cast(Update, self.get_submodule(name))
            entries += update.weight_map(f"{prefix}.{name}", first_layer + number * layers_per_update)
        return entries


class GraphNetwork(nn.Module):
    def __init__(self, model: GraphNetworkConfig) -> None:
        super().__init__()
        self._model = model
        self.node_embedding = nn.Linear(NUM_NODE_FEATURES, model.latent_width)
        self.edge_embedding = nn.Linear(NUM_EDGE_FEATURES, model.latent_width)
        hidden = model.hidden_widths[-1]
        widths = [(model.latent_width, model.num_tasks)] + [(hidden, hidden)] * (model.num_steps - 1)
        self.graph_network = nn.ModuleList(MessagePassing(model, *pair) for pair in widths)
        self.decoder = nn.Linear(hidden, model.num_tasks)
        lecun_normal_modules_(self)

    def forward(self, graphs: Mapping[str, Tensor], dropout_rate: float = 0.0) -> Tensor:
        """Maps the arrays described in `workloads.ogbg.data` to logits [S * G, num_tasks]."""
        num_shards, num_nodes = graphs["nodes"].shape[:2]
        num_graphs = graphs["n_node"].shape[1]
        node_slot, edge_slot = _slots(graphs["n_node"], num_nodes), _slots(graphs["n_edge"], graphs["edges"].shape[1])
        first_node = torch.arange(num_shards, device=node_slot.device)[:, None] * num_nodes
        senders = (graphs["senders"] + first_node).flatten()
        receivers = (graphs["receivers"] + first_node).flatten()

        nodes = self.node_embedding(graphs["nodes"].flatten(0, 1))
        edges = self.edge_embedding(graphs["edges"].flatten(0, 1))
        # One more slot than graphs: padding nodes and edges form a graph of their own.
        globals_ = nodes.new_zeros((num_shards * (num_graphs + 1), self._model.num_tasks))
        for step in self.graph_network:
            nodes, edges, globals_ = step(
                nodes, edges, globals_, senders, receivers, node_slot, edge_slot, dropout_rate
            )
        graph_states = globals_.unflatten(0, (num_shards, num_graphs + 1))[:, :num_graphs]
        logits: Tensor = self.decoder(graph_states.flatten(0, 1))
        return logits

    def weight_map(self) -> list[weights.Entry]:
        layers_per_update = len(self._model.hidden_widths)
        entries = weights.linear("node_embedding", "node_embedding") + weights.linear(
            "edge_embedding", "edge_embedding"
        )
        for number, step in enumerate(cast(Iterable[MessagePassing], self.graph_network)):
            entries += step.weight_map(f"graph_network.{number}", 3 * layers_per_update * number, layers_per_update)
        return entries + weights.linear("decoder", f"Dense_{3 * layers_per_update * self._model.num_steps}")


class GraphModel(TorchModel):
    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> losses.Losses:
        """Losses [graphs, tasks]; `n_valid_examples` counts labels that are there, not graphs."""
        return losses.sigmoid_cross_entropy(labels, logits, weights, label_smoothing)

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `logits` and `loss`, each [graphs, tasks]; a missing label has no loss."""
        return {"logits": logits, "loss": self.loss(batch["targets"], logits, batch["weights"], 0.0)["per_example"]}


def build(definition: WorkloadDefinition) -> GraphModel:
    return GraphModel(definition, lambda: GraphNetwork(definition.model), output_layer="decoder")
