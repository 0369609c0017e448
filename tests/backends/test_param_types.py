"""Kinds from names: what models of the benchmark are called in Flax and in PyTorch, and names that mislead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import ParameterType
from algoperf.param_types import parameter_type, words


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Dense_0/kernel", "WEIGHT"),
        ("Dense_0/bias", "BIAS"),
        ("Conv_init/kernel", "CONV_WEIGHT"),
        ("Conv_0/bias", "BIAS"),
        ("BottleneckResNetBlock_3/BatchNorm_proj/scale", "BATCH_NORM_SCALE"),
        ("Transformer/encoderblock_0/LayerNorm_2/bias", "LAYER_NORM_BIAS"),
        ("encoder/encoder_layernorm/scale", "LAYER_NORM_SCALE"),
        ("shared_embedding/embedding", "EMBEDDING"),
        ("embedding_table", "EMBEDDING"),
        ("node_embedding/kernel", "EMBEDDING"),
        ("node_embedding/bias", "BIAS"),
        ("encoderblock_0/MultiHeadDotProductAttention_1/query/kernel", "ATTENTION_Q"),
        ("encoderblock_0/MultiHeadDotProductAttention_1/out/bias", "ATTENTION_BIAS"),
        ("MAPHead_0/MultiHeadDotProductAttention_0/value/kernel", "ATTENTION_V"),
        ("MultiHeadDotProductAttention_0/QueryScaler_0/scale", "WEIGHT"),
        ("MultiHeadedSelfAttention_0/LayerNorm_0/scale", "LAYER_NORM_SCALE"),
        ("Subsample_0/Conv2dSubsampling_1/kernel", "CONV_WEIGHT"),
        ("BatchRNN_0/LSTM_0/cell/hi/kernel", "WEIGHT"),
        ("MAPHead_0/adapter", "WEIGHT"),
    ],
)
def test_flax_names(name, kind):
    assert parameter_type(name.split("/")).name == kind


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("net.layer1.weight", "Linear", "WEIGHT"),
        ("layer1.0.bn3.weight", "BatchNorm", "BATCH_NORM_SCALE"),
        ("layer1.0.downsample.conv.weight", "Conv2d", "CONV_WEIGHT"),
        ("encoder.layers.0.self_attn.in_proj.weight", "Linear", "ATTENTION_QKV"),
        ("decoder.layers.0.multihead_attn.kv_proj.weight", "Linear", "ATTENTION_KV"),
        ("decoder.layers.0.multihead_attn.q_proj.weight", "Linear", "ATTENTION_Q"),
        ("decoder.layers.0.multihead_attn.out_proj.weight", "Linear", "ATTENTION_OUT"),
        ("attention.in_proj_weight", "MultiheadAttention", "ATTENTION_QKV"),
        ("attention.in_proj_bias", "MultiheadAttention", "ATTENTION_BIAS"),
        ("embed_ln.weight", "LayerNorm", "LAYER_NORM_SCALE"),
        ("lstm.weight_hh_l0_reverse", "LSTM", "WEIGHT"),
        ("lstm.bias_ih_l0", "LSTM", "BIAS"),
    ],
)
def test_pytorch_names(name, layer, kind):
    assert parameter_type(name.split("."), layer=layer).name == kind


def test_the_nearest_name_and_the_layers_class_come_first():
    assert parameter_type(["down", "conv_layers", "1", "weight"], layer="InstanceNorm2d").name == "LAYER_NORM_SCALE"
    assert parameter_type(["down", "conv_layers", "0", "weight"], layer="Conv2d").name == "CONV_WEIGHT"
    assert parameter_type(["top_mlp", "3", "weight"], layer="LayerNorm").name == "LAYER_NORM_SCALE"
    assert parameter_type(["ConvolutionBlock_0", "Dense_0", "kernel"]).name == "WEIGHT"


@pytest.mark.parametrize("misleading", ["abnormal", "kilns", "subnet", "convex", "inverted_convolver", "nets"])
def test_parts_of_words_do_not_count(misleading):
    assert parameter_type([misleading, "kernel"]) is ParameterType.WEIGHT


def test_words_of_names():
    assert words("MAPHead_0") == {"map", "head"}
    assert words("BatchNorm_12") == {"batch", "norm"}
    assert words("self_attn2.LSTMCell") == {"self", "attn", "lstm", "cell"}


@given(st.lists(st.text("abcLNconv_01", min_size=1), min_size=1), st.text("ABnorm", max_size=8))
def test_every_name_has_a_kind(path, layer):
    assert isinstance(parameter_type(path, layer), ParameterType)
