"""Losses, dropout, batch norm and weight names of the JAX models, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

jax = pytest.importorskip("jax")
import flax.linen as nn  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from workloads.common.jax import batch_norm, dropout, forward, initializers, losses, weights  # noqa: E402

pytestmark = pytest.mark.jax


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
    mask = {"none": None, "batch": np.array([1, 0, 1, 1]), "tokens": rng.integers(2, size=(4, 3))}[weighting]
    result = losses.softmax_cross_entropy(one_hot if dense else classes, jnp.asarray(logits), mask, smoothing)
    full_mask = np.ones((4, 3)) if mask is None else np.broadcast_to(mask.reshape(4, -1), (4, 3))
    np.testing.assert_allclose(result["per_example"], expected * full_mask, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result["summed"], (expected * full_mask).sum(), rtol=1e-5)
    assert result["n_valid_examples"] == full_mask.sum()


def test_masked_labels_may_be_nan():
    logits = jnp.array([[0.3, -2.0], [1.0, 40.0]])
    labels = np.array([[1.0, np.nan], [0.0, 1.0]])
    mask = np.array([[1.0, 0.0], [1.0, 1.0]])

    def loss(logits):
        return losses.sigmoid_cross_entropy(labels, logits, mask)["summed"]

    expected = -np.log(1 / (1 + np.exp(-0.3))) - np.log(1 - 1 / (1 + np.exp(-1.0)))
    np.testing.assert_allclose(loss(logits), expected, rtol=1e-5)
    assert jax.grad(loss)(logits)[0, 1] == 0


def test_mean_squared_error_averages_each_example():
    result = losses.mean_squared_error(np.zeros((2, 2)), jnp.array([[1.0, -3], [9, 9]]), [1, 0])
    np.testing.assert_allclose(result["per_example"], [5, 0])
    assert (float(result["summed"]), float(result["n_valid_examples"])) == (5, 1)


def test_mean_absolute_error_averages_each_example():
    result = losses.mean_absolute_error(np.zeros((2, 2, 2)), jnp.array([[[1.0, -1], [3, 1]], [[9, 9], [9, 9]]]), [1, 0])
    np.testing.assert_allclose(result["per_example"], [1.5, 0])
    assert result["n_valid_examples"] == 1


def test_misshapen_labels_and_weights_are_refused():
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\)"):
        losses.softmax_cross_entropy(np.zeros((3,), int), jnp.zeros((4, 5)))
    with pytest.raises(ValueError, match="weights must have shape"):
        losses.softmax_cross_entropy(np.zeros((4,), int), jnp.zeros((4, 5)), np.ones(3))


def test_dropout_rate_is_given_with_the_call_and_needs_one_compilation():
    layer, key = dropout.Dropout(), jax.random.key(0)
    ones = jnp.ones((100, 100))
    compilations = []

    @jax.jit
    def apply(rate):
        compilations.append(rate)
        return layer.apply({}, ones, rate=rate, train=True, rngs={"dropout": key})

    for rate in (0.0, 0.25, 1.0):
        outputs = apply(rate)
        assert set(np.unique(outputs).tolist()) <= {0.0, float(np.float32(1) / np.float32(1 - rate) if rate < 1 else 0)}
        assert abs(float((outputs == 0).mean()) - rate) < 0.02
    assert len(compilations) == 1
    assert layer.apply({}, ones, rate=0.5, train=False) is ones
    gradient = jax.grad(lambda x: dropout.dropout(x, jnp.float32(1.0), key).sum())(ones)
    assert np.all(gradient == 0)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train, mask=None):
        return batch_norm.BatchNorm()(inputs, train=train, mask=mask)


def test_batch_norm_follows_the_three_way_rule():
    inputs = jnp.asarray(np.random.default_rng(0).normal(2, 3, size=(6, 4)), jnp.float32)
    module = Normalised()
    params, state = forward.init(module, jax.random.key(0), inputs, train=False)
    call = {"rng": None}

    trained, new_state = forward.apply(module, params, state, inputs, train=True, update_batch_norm=True, **call)
    frozen, same_state = forward.apply(module, params, state, inputs, train=True, update_batch_norm=False, **call)
    evaluated, eval_state = forward.apply(module, params, state, inputs, train=False, update_batch_norm=True, **call)

    mean, var = np.mean(inputs, 0), np.var(inputs, 0)
    np.testing.assert_allclose(trained, (inputs - mean) / np.sqrt(var + 1e-5), rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(frozen, trained)
    np.testing.assert_allclose(evaluated, inputs / np.sqrt(1 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(new_state["batch_stats"]["BatchNorm_0"]["var"], 0.9 + 0.1 * var, rtol=1e-5)
    assert same_state is state
    assert eval_state is state


def test_masked_batch_norm_ignores_what_is_masked():
    rng = np.random.default_rng(0)
    inputs, mask = rng.normal(size=(3, 5, 2)).astype(np.float32), rng.integers(2, size=(3, 5))
    module = Normalised()
    params, state = forward.init(module, jax.random.key(0), inputs, train=False)
    call = {"train": True, "update_batch_norm": True, "rng": None, "mask": jnp.asarray(mask)}
    outputs, _ = forward.apply(module, params, state, inputs, **call)
    changed, _ = forward.apply(module, params, state, np.where(mask[..., None], inputs, 77), **call)
    real = inputs[mask > 0]
    expected = (inputs - real.mean(0)) / np.sqrt(real.var(0) + 1e-5) * mask[..., None]
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(changed, outputs, rtol=1e-6)


def test_xavier_uniform_of_uses_the_stated_fans():
    sample = initializers.xavier_uniform_of(10, 20)(jax.random.key(0), (100, 100))
    limit = np.sqrt(6 / 30)
    assert abs(sample).max() <= limit
    np.testing.assert_allclose(sample.std(), limit / np.sqrt(3), rtol=0.02)


def test_weights_round_trip_and_mismatches_are_named():
    params = {"Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
    state = {"batch_stats": {"BatchNorm_0": {"mean": jnp.arange(3.0)}}}
    exported = weights.export_weights(params, state)
    assert sorted(exported) == ["batch_stats/BatchNorm_0/mean", "params/Dense_0/bias", "params/Dense_0/kernel"]
    changed = {name: value + 1 for name, value in exported.items()}
    new_params, new_state = weights.import_weights(changed, params, state)
    np.testing.assert_array_equal(new_params["Dense_0"]["kernel"], np.full((2, 3), 2.0))
    np.testing.assert_array_equal(new_state["batch_stats"]["BatchNorm_0"]["mean"], [1, 2, 3])
    with pytest.raises(ValueError, match=r"missing.*Dense_0/bias"):
        weights.import_weights({k: v for k, v in exported.items() if "bias" not in k}, params, state)
    with pytest.raises(ValueError, match=r"params/Dense_0/bias must have shape \(3,\), got \(4,\)"):
        weights.import_weights({**exported, "params/Dense_0/bias": np.zeros(4)}, params, state)


def test_batch_norm_keeps_its_variance_at_a_large_mean():
    rng = np.random.default_rng(0)
    inputs = (1e4 + rng.normal(0, 1, size=(64, 8, 3))).astype(np.float32)
    expected = inputs.astype(np.float64).var((0, 1))
    for mask in (None, jnp.ones(64)):
        shaped = None if mask is None else mask[:, None, None]
        mean, var = batch_norm._moments(jnp.asarray(inputs), shaped)
        np.testing.assert_allclose(var, expected, rtol=1e-3)
        np.testing.assert_allclose(mean, inputs.astype(np.float64).mean((0, 1)), rtol=1e-6)
