"""Vision transformer in PyTorch."""

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.dropout import Dropout
from workloads.common.torch.image_classifier import ImageClassifier
from workloads.common.torch.initializers import lecun_normal_, normal_, xavier_uniform_, zeros_
from workloads.common.torch.weights import Entry
from workloads.imagenet_vit.definition import ViTConfig
from workloads.imagenet_vit.positions import sincos_positions


def _layer_norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6)


def _square_linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    xavier_uniform_(layer.weight)
    zeros_(layer.bias)
    return layer


class Attention(nn.Module):
    """Multi-head scaled dot-product attention with biases; no dropout of probabilities."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query, self.key, self.value, self.out = (_square_linear(width) for _ in range(4))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Returns [batch, queries, width] for `queries` [batch, queries, width] and `tokens` [batch, tokens, width]."""
        q, k, v = (
            layer(x).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, tokens), (self.value, tokens))
        )
        projected: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return projected

    def weight_map(self, prefix: str, path: str) -> Iterator[Entry]:
        for name in ("query", "key", "value"):
            yield from weights.heads_in(f"{prefix}.{name}", [f"{path}/{name}"], self._heads)
        yield from weights.heads_out(f"{prefix}.out", f"{path}/out", self._heads)


class MlpBlock(nn.Module):
    """Linear, GELU (tanh approximation), optional gate, dropout, linear."""

    def __init__(self, width: int, hidden: int, gated: bool = False) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.glu_linear = nn.Linear(hidden, hidden) if gated else None
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = Dropout()
        for layer in self.children():
            if isinstance(layer, nn.Linear):
                xavier_uniform_(layer.weight)
                normal_(layer.bias, 1e-6)

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        x = F.gelu(self.linear1(x), approximate="tanh")
        if self.glu_linear is not None:
            x = x * self.glu_linear(x)
        outputs: Tensor = self.linear2(self.dropout(x, dropout_rate))
        return outputs

    def weight_map(self, prefix: str, path: str) -> Iterator[Entry]:
        names = ["linear1", "linear2"] if self.glu_linear is None else ["linear1", "glu_linear", "linear2"]
        for number, name in enumerate(names):
            yield from weights.linear(f"{prefix}.{name}", f"{path}/Dense_{number}")


class EncoderBlock(nn.Module):
    def __init__(self, model: ViTConfig) -> None:
        super().__init__()
        self._post_layer_norm = model.post_layer_norm
        self.layer_norm0 = _layer_norm(model.width)
        self.self_attention1 = Attention(model.width, model.heads)
        self.layer_norm2 = _layer_norm(model.width)
        self.mlp3 = MlpBlock(model.width, model.mlp_width, model.gated_mlp)
        self.dropout = Dropout()

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        if self._post_layer_norm:
            x = self.layer_norm0(x + self.dropout(self.self_attention1(x, x), dropout_rate))
            normalised: Tensor = self.layer_norm2(x + self.dropout(self.mlp3(x, dropout_rate), dropout_rate))
            return normalised
        y = self.layer_norm0(x)
        x = x + self.dropout(self.self_attention1(y, y), dropout_rate)
        residual: Tensor = self.dropout(self.mlp3(self.layer_norm2(x), dropout_rate), dropout_rate)
        return x + residual

    def weight_map(self, prefix: str, path: str) -> Iterator[Entry]:
        yield from weights.norm(f"{prefix}.layer_norm0", f"{path}/LayerNorm_0")
        yield from self.self_attention1.weight_map(
            f"{prefix}.self_attention1", f"{path}/MultiHeadDotProductAttention_1"
        )
        yield from weights.norm(f"{prefix}.layer_norm2", f"{path}/LayerNorm_2")
        yield from self.mlp3.weight_map(f"{prefix}.mlp3", f"{path}/MlpBlock_3")


class MAPHead(nn.Module):
    """Multi-head attention pooling: one learned query, then an MLP with a residual sum. Returns [batch, width]."""

    def __init__(self, model: ViTConfig) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, model.width))
        xavier_uniform_(self.probe, 1, model.width)
        self.attention = Attention(model.width, model.heads)
        self.layer_norm = _layer_norm(model.width)
        self.mlp = MlpBlock(model.width, model.mlp_width)

    def forward(self, x: Tensor, dropout_rate: float) -> Tensor:
        x = self.attention(self.probe.expand(len(x), -1, -1), x)
        pooled: Tensor = x + self.mlp(self.layer_norm(x), dropout_rate)
        return pooled[:, 0]

    def weight_map(self, prefix: str, path: str) -> Iterator[Entry]:
        yield weights.same(f"{prefix}.probe", f"params/{path}/probe")
        yield from self.attention.weight_map(f"{prefix}.attention", f"{path}/MultiHeadDotProductAttention_0")
        yield from weights.norm(f"{prefix}.layer_norm", f"{path}/LayerNorm_0")
        yield from self.mlp.weight_map(f"{prefix}.mlp", f"{path}/MlpBlock_0")


class ViT(nn.Module):
    """Args: the model's dimensions, the side of the images in pixels, the number of logits."""

    positions: Tensor

    def __init__(self, model: ViTConfig, image_size: int, num_classes: int) -> None:
        super().__init__()
        width, patch = model.width, model.patch_size
        self.conv_patch_extract = nn.Conv2d(3, width, patch, patch)
        self.dropout = Dropout()
        self.encoder = nn.ModuleDict({"net": nn.ModuleList(EncoderBlock(model) for _ in range(model.depth))})
        if not model.post_layer_norm:
            self.encoder["encoder_norm"] = _layer_norm(width)
        self.map = MAPHead(model) if model.attention_pooling else None
        self.pre_logits = nn.Linear(width, width)
        self.head = nn.Linear(width, num_classes)
        for layer in (self.conv_patch_extract, self.pre_logits):
            lecun_normal_(layer.weight)
            zeros_(layer.bias)
        zeros_(self.head.weight)
        zeros_(self.head.bias)
        tokens = image_size // patch
        positions = torch.from_numpy(sincos_positions(tokens, tokens, width))
        self.register_buffer("positions", positions.to(torch.get_default_device()), persistent=False)

    def forward(self, images: Tensor, dropout_rate: float = 0.0) -> Tensor:
        """Returns logits [batch, num_classes] for `images` [batch, height, width, 3]."""
        x = self.conv_patch_extract(images.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        x = self.dropout(x + self.positions, dropout_rate)
        for block in self._blocks():
            x = block(x, dropout_rate)
        if "encoder_norm" in self.encoder:
            x = self.encoder["encoder_norm"](x)
        x = x.mean(1) if self.map is None else self.map(x, dropout_rate)
        logits: Tensor = self.head(torch.tanh(self.pre_logits(x)))
        return logits

    def _blocks(self) -> list[EncoderBlock]:
        return [cast(EncoderBlock, block) for block in cast(nn.ModuleList, self.encoder["net"])]

    def weight_map(self) -> Iterator[Entry]:
        """Names and layouts of all tensors in terms of the Flax model."""
        yield from weights.conv("conv_patch_extract", "conv_patch_extract")
        for number, block in enumerate(self._blocks()):
            yield from block.weight_map(f"encoder.net.{number}", f"Transformer/encoderblock_{number}")
        if "encoder_norm" in self.encoder:
            yield from weights.norm("encoder.encoder_norm", "Transformer/encoder_layernorm")
        if self.map is not None:
            yield from self.map.weight_map("map", "MAPHead_0")
        yield from weights.linear("pre_logits", "pre_logits")
        yield from weights.linear("head", "head")


def build(definition: WorkloadDefinition) -> ImageClassifier:
    def make_module() -> ViT:
        return ViT(definition.model, definition.data.image_size, definition.data.num_classes)

    return ImageClassifier(definition, make_module, output_layer="head")
