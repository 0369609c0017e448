"""Losses, dropout, initial distributions, batch norm and weight names of the PyTorch models, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from workloads.common.torch import dropout, forward, initializers, losses, weights  # noqa: E402
from workloads.common.torch.batch_norm import BatchNorm  # noqa: E402

pytestmark = pytest.mark.torch


def reference_softmax_losses(targets: np.ndarray, logits: np.ndarray, smoothing: float) -> np.ndarray:
    """Cross-entropy in float64; `targets` are probabilities."""
    logits = logits.astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = (1 - smoothing) * targets + smoothing / logits.shape[-1]
    return -(targets * log_probs).sum(-1)


@settings(max_examples=20)
@given(smoothing=st.floats(0, 0.9), dense=st.booleans(), weighting=st.sampled_from(["none", "batch", "tokens"]))
def test_softmax_cross_entropy_of_classes_and_probabilities(smoothing, dense, weighting):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3, 5)).astype(np.float32)
    classes = rng.integers(5, size=(4, 3))
    one_hot = np.eye(5)[classes]
    expected = reference_softmax_losses(one_hot, logits, smoothing)
    mask = {"none": None, "batch": np.array([1, 0, 1, 1]), "tokens": rng.integers(2, size=(4, 3)) > 0}[weighting]
    result = losses.softmax_cross_entropy(
        torch.as_tensor(one_hot if dense else classes),
        torch.as_tensor(logits),
        None if mask is None else torch.as_tensor(mask),
        smoothing,
    )
    full_mask = np.ones((4, 3)) if mask is None else np.broadcast_to(mask.reshape(4, -1), (4, 3))
    np.testing.assert_allclose(result["per_example"], expected * full_mask, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result["summed"], (expected * full_mask).sum(), rtol=1e-5)
    assert result["n_valid_examples"] == full_mask.sum()


def test_masked_labels_may_be_nan():
    logits = torch.tensor([[0.3, -2.0], [1.0, 40.0]], requires_grad=True)
    labels = torch.tensor([[1.0, np.nan], [0.0, 1.0]])
    loss = losses.sigmoid_cross_entropy(labels, logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))["summed"]
    loss.backward()
    expected = -np.log(1 / (1 + np.exp(-0.3))) - np.log(1 - 1 / (1 + np.exp(-1.0)))
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-5)
    assert logits.grad[0, 1] == 0


def test_mean_squared_error_averages_each_example():
    result = losses.mean_squared_error(torch.zeros(2, 2), torch.tensor([[1.0, -3], [9, 9]]), torch.tensor([1, 0]))
    np.testing.assert_allclose(result["per_example"], [5, 0])
    assert (result["summed"].item(), result["n_valid_examples"].item()) == (5, 1)


def test_mean_absolute_error_averages_each_example():
    outputs = torch.tensor([[[1.0, -1], [3, 1]], [[9, 9], [9, 9]]])
    result = losses.mean_absolute_error(torch.zeros(2, 2, 2), outputs, torch.tensor([1, 0]))
    np.testing.assert_allclose(result["per_example"], [1.5, 0])
    assert result["n_valid_examples"] == 1


def test_misshapen_labels_and_weights_are_refused():
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\)"):
        losses.softmax_cross_entropy(torch.zeros(3, dtype=torch.long), torch.zeros(4, 5))
    with pytest.raises(ValueError, match="weights must have shape"):
        losses.softmax_cross_entropy(torch.zeros(4, dtype=torch.long), torch.zeros(4, 5), torch.ones(3))


def test_dropout_follows_the_mode_and_the_rate_of_the_call():
    layer, ones = dropout.Dropout(), torch.ones(100, 100)
    torch.manual_seed(0)
    outputs = layer(ones, 0.25)
    assert sorted(outputs.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert abs((outputs == 0).float().mean().item() - 0.25) < 0.02
    assert layer(ones, 0.0) is ones
    assert layer.eval()(ones, 0.25) is ones


def test_lecun_normal_has_flax_bounds_and_variance():
    torch.manual_seed(0)
    sample = initializers.lecun_normal_(torch.empty(400, 100))
    np.testing.assert_allclose(sample.std().item(), 0.1, rtol=0.02)
    bound = 2 * 0.1 / 0.87962566103423978
    assert 0.95 * bound < sample.abs().max().item() <= bound
    assert initializers.lecun_normal_(torch.empty(4, 5), fan_in=10_000).abs().max() < 0.03


def test_xavier_uniform_uses_kernel_positions_or_stated_fans():
    torch.manual_seed(0)
    assert initializers.xavier_uniform_(torch.empty(200, 100, 3, 3)).abs().max().item() == pytest.approx(
        np.sqrt(6 / 2700), rel=0.01
    )
    assert initializers.xavier_uniform_(torch.empty(100, 100), 10, 20).abs().max().item() == pytest.approx(
        np.sqrt(6 / 30), rel=0.01
    )


@pytest.mark.parametrize("channel_axis", [1, -1])
def test_batch_norm_follows_the_three_way_rule(channel_axis):
    torch.manual_seed(0)
    inputs = 2 + 3 * torch.randn(6, 4)
    layer = BatchNorm(4, channel_axis=channel_axis)
    mean, var = inputs.mean(0), inputs.var(0, correction=0)
    with forward.forward_mode(layer, train=True, update_batch_norm=False):
        frozen = layer(inputs)
    assert torch.equal(layer.running_mean, torch.zeros(4))
    assert torch.equal(layer.running_var, torch.ones(4))
    with forward.forward_mode(layer, train=True, update_batch_norm=True):
        trained = layer(inputs)
    torch.testing.assert_close(layer.running_mean, 0.1 * mean)
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * var)
    torch.testing.assert_close(trained, (inputs - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(frozen, trained, rtol=0, atol=0)
    before = layer.running_var.clone()
    with forward.forward_mode(layer, train=False, update_batch_norm=True):
        evaluated = layer(inputs)
    torch.testing.assert_close(evaluated, (inputs - layer.running_mean) / (before + 1e-5).sqrt())
    assert torch.equal(layer.running_var, before)
    assert not evaluated.requires_grad


def test_fused_and_masked_batch_norm_agree_in_gradients():
    torch.manual_seed(0)
    inputs = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    gradients = []
    for mask in (None, torch.ones(4)):
        layer = BatchNorm(3).double()
        leaf = inputs.clone().requires_grad_()
        (layer(leaf, mask) ** 3).sum().backward()
        gradients.append((leaf.grad, layer.weight.grad, layer.running_var))
    for fused, manual in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, manual, rtol=1e-9, atol=1e-9)


def test_masked_batch_norm_ignores_what_is_masked():
    torch.manual_seed(0)
    inputs, mask = torch.randn(3, 5, 2), torch.randint(2, (3, 5))
    outputs = BatchNorm(2, channel_axis=-1)(inputs, mask)
    changed = BatchNorm(2, channel_axis=-1)(torch.where(mask[..., None] > 0, inputs, 77.0), mask)
    real = inputs[mask > 0]
    expected = (inputs - real.mean(0)) / (real.var(0, correction=0) + 1e-5).sqrt() * mask[..., None]
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(changed, outputs)


class Mixed(nn.Module):
    """One of everything the table can map."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.conv = nn.Conv2d(2, 3, (4, 5))
        self.up = nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False)
        self.bn = BatchNorm(3)
        self.ln = nn.LayerNorm(3)
        self.chunks = nn.ParameterList([nn.Parameter(torch.randn(2, 3)) for _ in range(2)])
        self.qkv = nn.Linear(4, 3 * 4)
        self.out = nn.Linear(4, 4, bias=False)


MIXED_TABLE = [
    *weights.linear("linear", "Dense_0"),
    *weights.conv("conv", "Conv_0"),
    *weights.conv_transpose("up", "ConvTranspose_0", bias=False),
    *weights.batch_norm("bn", "BatchNorm_0"),
    *weights.norm("ln", "LayerNorm_0"),
    weights.concatenated(["chunks.0", "chunks.1"], "params/table"),
    *weights.heads_in("qkv", ["att/query", "att/key", "att/value"], 2),
    *weights.heads_out("out", "att/out", 2, bias=False),
]


def test_weights_round_trip_in_flax_layouts():
    source, copy = Mixed(), Mixed()
    exported = weights.export_weights(source, MIXED_TABLE)
    shapes = {name: array.shape for name, array in exported.items()}
    assert shapes["params/Dense_0/kernel"] == (2, 3)
    assert shapes["params/Conv_0/kernel"] == (4, 5, 2, 3)
    assert shapes["params/ConvTranspose_0/kernel"] == (2, 2, 2, 3)
    assert shapes["batch_stats/BatchNorm_0/mean"] == (3,)
    assert shapes["params/table"] == (4, 3)
    assert shapes["params/att/key/kernel"] == (4, 2, 2)
    assert shapes["params/att/key/bias"] == (2, 2)
    assert shapes["params/att/out/kernel"] == (2, 2, 4)
    np.testing.assert_array_equal(
        exported["params/att/value/kernel"].reshape(4, 4), source.qkv.weight[8:].detach().numpy().T
    )
    weights.import_weights(exported, copy, MIXED_TABLE)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, copy.state_dict()[name]), name


def test_incomplete_tables_and_unfit_weights_are_named():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"missing.*1.bias"):
        weights.export_weights(module, weights.linear("0", "Dense_0"))
    table = [*weights.linear("0", "Dense_0"), *weights.linear("1", "Dense_1")]
    exported = weights.export_weights(module, table)
    with pytest.raises(ValueError, match=r"unexpected \['params/extra'\]"):
        weights.import_weights({**exported, "params/extra": np.zeros(1)}, module, table)
    with pytest.raises(ValueError, match=r"1.bias .* must have shape \(1,\), got \(2,\)"):
        weights.import_weights({**exported, "params/Dense_1/bias": np.zeros(2)}, module, table)
