"""DLRM-small in PyTorch. The embedding table is one tensor, looked up in place; its gradient is dense."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import losses, weights
from workloads.common.torch.dropout import Dropout
from workloads.common.torch.initializers import normal_, uniform_, xavier_uniform_
from workloads.common.torch.model import TorchModel
from workloads.criteo1tb.definition import NUM_CATEGORIES, NUM_INTEGERS, DlrmConfig

_LAYER_NORM_EPSILON = 1e-6


class Hidden(nn.Module):
    """Linear, ReLU, LayerNorm if asked for, and a residual sum if asked for."""

    def __init__(self, in_width: int, width: int, *, layer_norm: bool, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(in_width, width)
        self.norm = nn.LayerNorm(width, eps=_LAYER_NORM_EPSILON) if layer_norm else None
        self._dropout = Dropout()
        self._residual = residual

    def forward(self, x: Tensor, dropout_rate: float = 0.0) -> Tensor:
        y = F.relu(self.linear(x))
        if self.norm is not None:
            y = self.norm(y)
        dropped: Tensor = self._dropout(y, dropout_rate)
        return x + dropped if self._residual else dropped


class Table(nn.Module):
    """`weight` [rows, width], drawn uniformly on [0, scale) without a second copy; row id mod rows."""

    def __init__(self, rows: int, width: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_(torch.empty(rows, width), 0.0, scale))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids % len(self.weight), self.weight)


def _mlp(in_width: int, widths: tuple[int, ...], model: DlrmConfig) -> nn.ModuleList:
    layers = nn.ModuleList()
    for width in widths:
        residual = model.residual and len(layers) > 0
        layers.append(Hidden(in_width, width, layer_norm=model.layer_norm, residual=residual))
        in_width = width
    return layers


def _hidden_layers(mlp: nn.ModuleList) -> list[Hidden]:
    return [cast(Hidden, layer) for layer in mlp]


class Dlrm(nn.Module):
    _pairs: Tensor

    def __init__(self, model: DlrmConfig) -> None:
        super().__init__()
        self._model = model
        *top_widths, num_outputs = model.top_widths
        self.embedding_table = Table(model.table_rows, model.embedding_width, model.initial_embedding_scale)
        self.embedding_norm = nn.LayerNorm(model.embedding_width, eps=_LAYER_NORM_EPSILON) if model.layer_norm else None
        self.bottom_mlp = _mlp(NUM_INTEGERS, model.bottom_widths, model)
        num_vectors = NUM_CATEGORIES + 1
        num_features = (
            NUM_CATEGORIES * model.embedding_width if model.residual else num_vectors * (num_vectors + 1) // 2
        )
        self.top_mlp = _mlp(model.bottom_widths[-1] + num_features, tuple(top_widths), model)
        self.output = nn.Linear(top_widths[-1], num_outputs)
        rows, columns = torch.triu_indices(num_vectors, num_vectors, device="cpu")
        self.register_buffer("_pairs", (rows * num_vectors + columns).to(self.output.weight.device), persistent=False)
        self._draw()

    @torch.no_grad()
    def _draw(self) -> None:
        bottom = [layer.linear for layer in _hidden_layers(self.bottom_mlp)]
        for linear in bottom:
            xavier_uniform_(linear.weight)
        top = [*(layer.linear for layer in _hidden_layers(self.top_mlp)), self.output]
        for linear in top:
            normal_(linear.weight, (2 / (linear.in_features + linear.out_features)) ** 0.5)
        for linear in bottom + top:
            normal_(linear.bias, linear.out_features**-0.5)

    def forward(self, inputs: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Returns logits [B, 1] for `inputs` float32 [B, 39]: 13 numbers, 26 ids."""
        bottom, ids = inputs.split([NUM_INTEGERS, NUM_CATEGORIES], dim=1)
        for layer in self.bottom_mlp:
            bottom = layer(bottom)
        embeddings = self.embedding_table(ids.int())
        if self.embedding_norm is not None:
            embeddings = self.embedding_norm(embeddings)
        if self._model.residual:
            features = embeddings.flatten(1)
        else:
            features = self._pairwise_dots(torch.cat([bottom[:, None], embeddings], dim=1))
        top = torch.cat([bottom, features], dim=1)
        *first_layers, last_layer = self.top_mlp
        for layer in first_layers:
            top = layer(top)
        logits: Tensor = self.output(last_layer(top, dropout_rate))
        return logits

    def _pairwise_dots(self, vectors: Tensor) -> Tensor:
        """Maps [B, n, width] to n (n + 1) / 2 dot products of pairs, each vector with itself included, row by row."""
        dots = torch.bmm(vectors, vectors.transpose(1, 2))
        return dots.flatten(1).index_select(1, self._pairs)

    def weight_map(self) -> list[weights.Entry]:
        num_bottom = len(self.bottom_mlp)
        entries = [weights.same("embedding_table.weight", "params/embedding_table")]
        if self.embedding_norm is not None:
            entries += weights.norm("embedding_norm", f"LayerNorm_{num_bottom}")
        for name, mlp, first_dense, first_norm in (
            ("bottom_mlp", self.bottom_mlp, 0, 0),
            ("top_mlp", self.top_mlp, num_bottom, num_bottom + 1),
        ):
            for number, layer in enumerate(_hidden_layers(mlp)):
                entries += weights.linear(f"{name}.{number}.linear", f"Dense_{first_dense + number}")
                if layer.norm is not None:
                    entries += weights.norm(f"{name}.{number}.norm", f"LayerNorm_{first_norm + number}")
        return entries + weights.linear("output", f"Dense_{num_bottom + len(self.top_mlp)}")


class DlrmModel(TorchModel):
    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> losses.Losses:
        """Losses [B]. Label smoothing has no effect, as in AlgoPerf."""
        flat_weights = None if weights is None else weights.reshape(-1)
        return losses.sigmoid_cross_entropy(labels.reshape(-1), logits.reshape(-1), flat_weights)


def build(definition: WorkloadDefinition) -> DlrmModel:
    return DlrmModel(definition, lambda: Dlrm(definition.model), output_layer="output")
