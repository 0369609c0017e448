"""Kinds of parameters from their names.

Kinds follow AlgoPerf v0.6, where substrings of the whole path decide. Here whole words decide, and the part of the
name nearest to the tensor comes first: a norm inside a block called `conv_layers` is a norm.
"""

import re
from collections.abc import Sequence

from algoperf.definition import ParameterType

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_BATCH_NORM = frozenset({"bn", "batchnorm"})
_LAYER_NORM = frozenset({"ln", "layernorm", "norm", "normalization", "groupnorm", "instancenorm"})
_CONVOLUTION = frozenset({"conv"})
_EMBEDDING = frozenset({"embedding", "embed", "embedder", "embeddings"})
_ATTENTION = frozenset({"attention", "attn", "mha", "mhsa"})
_PROJECTIONS = (
    (frozenset({"qkv"}), ParameterType.ATTENTION_QKV),
    (frozenset({"kv"}), ParameterType.ATTENTION_KV),
    (frozenset({"in", "proj"}), ParameterType.ATTENTION_QKV),
    (frozenset({"query"}), ParameterType.ATTENTION_Q),
    (frozenset({"q", "proj"}), ParameterType.ATTENTION_Q),
    (frozenset({"key"}), ParameterType.ATTENTION_K),
    (frozenset({"k", "proj"}), ParameterType.ATTENTION_K),
    (frozenset({"value"}), ParameterType.ATTENTION_V),
    (frozenset({"v", "proj"}), ParameterType.ATTENTION_V),
    (frozenset({"out"}), ParameterType.ATTENTION_OUT),
)


def parameter_type(path: Sequence[str], layer: str = "") -> ParameterType:
    """Returns the kind of the tensor at `path`.

    Args:
      path: components of the name, outermost first, for example ("Transformer", "LayerNorm_0", "scale").
      layer: class name of the module that owns the tensor, where that is known; it counts before names.
    """
    leaf = words(path[-1])
    owner = next((words(name) for name in reversed(path[:-1]) if words(name)), frozenset())
    kind = _kind_of_owner(words(layer), leaf) or _kind_of_owner(owner, leaf)
    if kind is not None:
        return kind
    if leaf & _EMBEDDING or (owner & _EMBEDDING and leaf & {"kernel", "weight"}):
        return ParameterType.EMBEDDING
    is_bias = "bias" in leaf
    if any(words(name) & _ATTENTION for name in path[:-1]) or words(layer) & _ATTENTION:
        return ParameterType.ATTENTION_BIAS if is_bias else _projection(owner, leaf)
    return ParameterType.BIAS if is_bias else ParameterType.WEIGHT


def words(name: str) -> frozenset[str]:
    """Words of a name in lower case: "BatchNorm_0" has "batch" and "norm", "self_attn2" has "self" and "attn"."""
    return frozenset(word.lower() for word in _WORD.findall(name))


def _kind_of_owner(owner: frozenset[str], leaf: frozenset[str]) -> ParameterType | None:
    is_bias, is_scale = "bias" in leaf, bool(leaf & {"scale", "weight"})
    if (owner & _BATCH_NORM or owner >= {"batch", "norm"}) and (is_bias or is_scale):
        return ParameterType.BATCH_NORM_BIAS if is_bias else ParameterType.BATCH_NORM_SCALE
    if owner & _LAYER_NORM and (is_bias or is_scale):
        return ParameterType.LAYER_NORM_BIAS if is_bias else ParameterType.LAYER_NORM_SCALE
    if owner & _CONVOLUTION:
        return ParameterType.BIAS if is_bias else ParameterType.CONV_WEIGHT
    return None


def _projection(owner: frozenset[str], leaf: frozenset[str]) -> ParameterType:
    if "scale" not in leaf:
        for needed, kind in _PROJECTIONS:
            if owner >= needed or leaf >= needed:
                return kind
    return ParameterType.WEIGHT
