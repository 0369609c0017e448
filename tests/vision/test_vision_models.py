"""What the conformance suite does not see: padding, initial values, dropout sites."""

import dataclasses

import numpy as np
import pytest

from algoperf.registry import REGISTRY
from workloads.imagenet_vit.positions import sincos_positions


def test_position_embedding() -> None:
    positions = sincos_positions(14, 14, 384)
    assert positions.shape == (196, 384)
    found = positions[17, [0, 1, 96, 192, 193, 288]]  # y = 1, x = 3
    np.testing.assert_allclose(found, [0.141120, 0.406656, -0.989992, 0.841471, 0.788029, 0.540302], atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 2)])
def test_same_padding_puts_the_odd_pixel_last(size: int, kernel: int, stride: int) -> None:
    import torch

    from workloads.common.torch.resnet import SameConv

    conv = SameConv(1, 1, kernel, stride)
    torch.nn.init.ones_(conv.weight)
    found = conv(torch.ones(1, 1, size, size))[0, 0, 0].detach().numpy()
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    inside = [sum(0 <= o * stride - before + k < size for k in range(kernel)) for o in range(outputs)]
    rows = sum(0 <= k - before < size for k in range(kernel))
    np.testing.assert_array_equal(found, [rows * count for count in inside])


@pytest.mark.torch
@pytest.mark.parametrize(("name", "expected"), [("imagenet_resnet", 0.0), ("imagenet_resnet_large_bn_init", 8.0)])
def test_last_scale_of_each_block(name: str, expected: float) -> None:
    module, _ = REGISTRY.module(name, "torch_model").build(REGISTRY.get(name).shrunk()).init(None)
    scales = {key: value for key, value in module.named_parameters() if key.endswith("bn3.weight")}
    assert len(scales) == 3
    assert all((value == expected).all() for value in scales.values())
    assert (module.layer1[0].downsample.bn.weight == 1).all()


@pytest.mark.jax
@pytest.mark.parametrize("name", ["imagenet_vit", "imagenet_vit_glu", "imagenet_vit_post_ln", "imagenet_vit_map"])
def test_a_fresh_transformer_gives_zero_logits(name: str) -> None:
    import jax

    definition = REGISTRY.get(name).shrunk()
    model = REGISTRY.module(name, "jax_model").build(definition)
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = REGISTRY.module(name, "data").fake_batch(definition, 2, seed=0)
    logits, _ = jax.jit(model.forward, static_argnames=("train", "update_batch_norm"))(
        params, batch, state, train=True, rng=jax.random.key(1), update_batch_norm=True, dropout_rate=0.0
    )
    assert (np.asarray(logits) == 0).all()


def dropped_channels(framework: str) -> np.ndarray:
    """Shares of zeros in the channels [images, channels] after a conv block at dropout rate 0.5."""
    model = dataclasses.replace(REGISTRY.get("fastmri").shrunk().model, activation="tanh")
    if framework == "jax":
        import jax

        from workloads.fastmri.jax_model import ConvBlock

        block = ConvBlock(16, model)
        images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
        variables = block.init(jax.random.key(1), images, train=False, dropout_rate=0.0)
        outputs = block.apply(variables, images, train=True, dropout_rate=0.5, rngs={"dropout": jax.random.key(2)})
        return (np.asarray(outputs) == 0).mean((1, 2))
    import torch

    from workloads.fastmri.torch_model import ConvBlock

    torch.manual_seed(0)
    outputs = ConvBlock(1, 16, model).train()(torch.randn(4, 1, 8, 8), 0.5)
    return (outputs.detach().numpy() == 0).mean((2, 3))


@pytest.mark.parametrize(
    "framework", [pytest.param("jax", marks=pytest.mark.jax), pytest.param("torch", marks=pytest.mark.torch)]
)
def test_unet_drops_whole_channels(framework: str) -> None:
    shares = dropped_channels(framework)
    assert set(np.unique(shares)) == {0.0, 1.0}
    assert 0.25 < shares.mean() < 0.75


@pytest.mark.torch
def test_odd_sizes_go_through_the_unet() -> None:
    import torch

    module, _ = REGISTRY.module("fastmri", "torch_model").build(REGISTRY.get("fastmri").shrunk()).init(None)
    assert module(torch.zeros(1, 23, 17)).shape == (1, 23, 17)


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize("name", ["imagenet_resnet", "imagenet_vit", "fastmri"])
def test_a_variant_changes_what_its_name_says_and_nothing_else(name: str, framework: str) -> None:
    base = REGISTRY.get(name)
    variants = [d for d in REGISTRY.definitions() if d.base == name and d.tier == base.tier and d is not base]
    assert len(variants) == 3
    allowed = {"name", "title", "validation_target", "test_target", "model", "checks", "sources"}
    allowed.add("reference_batch_size")
    for variant in variants:
        changed = {
            field.name
            for field in dataclasses.fields(variant)
            if getattr(variant, field.name) != getattr(base, field.name)
        }
        assert "model" in changed
        assert changed <= allowed
