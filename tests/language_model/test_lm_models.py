"""Both models against values worked out by hand: rotary positions, query-key normalisation, loss of two tokens."""

import dataclasses
import importlib
import math

import numpy as np
import pytest

from algoperf.definition import FRAMEWORKS
from algoperf.testing.conformance.adapter import load_adapter
from workloads.finewebedu_lm.chunks import positions_per_chunk
from workloads.finewebedu_lm.data import fake_batch
from workloads.finewebedu_lm.definition import BASE, LanguageModelConfig
from workloads.finewebedu_lm.metrics import Perplexity
from workloads.finewebedu_lm.rotary import rotations

EACH_FRAMEWORK = [
    pytest.param(name, marks=getattr(pytest.mark, framework.package)) for name, framework in FRAMEWORKS.items()
]


def model_module(framework):
    return importlib.import_module(f"workloads.finewebedu_lm.{FRAMEWORKS[framework].package}_model")


def adapter_of(framework, definition):
    return load_adapter(framework, model_module(framework).build(definition))


def in_numpy(framework, name, *arguments):
    """Calls a function of a model's module on arrays."""
    if framework == "jax":
        return np.asarray(getattr(model_module(framework), name)(*arguments))
    import torch

    tensors = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
    return getattr(model_module(framework), name)(*tensors).numpy()


def test_angles_are_positions_times_powers_of_the_base():
    cosines, sines = rotations(3, 4, 500_000.0)
    angles = np.array([[0, 0], [1, 500_000**-0.5], [2, 2 * 500_000**-0.5]])
    np.testing.assert_allclose(cosines, np.cos(angles), rtol=1e-6)
    np.testing.assert_allclose(sines, np.sin(angles), rtol=1e-6)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_neighbouring_components_turn_together(framework):
    vectors = np.array([[1, 0, 3, 4], [1, 0, 3, 4]], np.float32)
    quarter, half = np.array([[1, 1], [0, -1]], np.float32), np.array([[0, 0], [1, 0]], np.float32)
    turned = in_numpy(framework, "rotated", vectors, quarter, half)
    np.testing.assert_allclose(turned, [[1, 0, 3, 4], [0, 1, -3, -4]])


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_lengths_are_one_after_normalisation_and_zeros_stay(framework):
    vectors = np.array([[3, 4], [0, 0], [3e-6, 4e-6]], np.float32)
    np.testing.assert_allclose(
        in_numpy(framework, "normalised", vectors, 1e-6), [[0.6, 0.8], [0, 0], [0.5, 2 / 3]], rtol=1e-5
    )


def two_token_weights(scale):
    """One head of depth 2; queries, keys, values and the output map are identities, and the MLP adds nothing."""
    identity = np.eye(2, dtype=np.float32)
    attention = {f"{name}/kernel": identity.reshape(2, 1, 2) for name in ("query", "key", "value")}
    attention |= {"attn_out_proj/kernel": identity.reshape(1, 2, 2), "attn_scale": np.float32(scale)}
    block = {f"CausalAttn_0/{name}": value for name, value in attention.items()}
    block |= {"Mlp_0/Dense_0/kernel": np.ones((2, 4), np.float32), "Mlp_0/Dense_1/kernel": np.zeros((2, 2), np.float32)}
    block |= {f"RMSNorm_{number}/scale": np.ones(2, np.float32) for number in range(2)}
    weights = {"embed/embedding": identity, "out_ln/scale": np.ones(2, np.float32)}
    weights |= {f"blocks_0/{name}": value for name, value in block.items()}
    return {f"params/{name}": np.asarray(value) for name, value in weights.items()}


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_the_loss_of_two_tokens(framework):
    """Tokens 0, 1 are embedded as (1, 0), (0, 1); worked out with plain arithmetic."""
    config = LanguageModelConfig(
        vocab_size=2, context=2, width=2, mlp_width=2, num_heads=1, num_layers=1, norm_epsilon=1e-12
    )
    definition = dataclasses.replace(BASE, model=config)
    adapter, scale = adapter_of(framework, definition), 3.0
    batch = {"inputs": np.array([[0, 1]], np.int32), "targets": np.array([[1, 0]], np.int32)}
    actual = adapter.forward_pass(adapter.import_weights(two_token_weights(scale)), batch)

    root = math.sqrt(2)  # a norm makes (1, 0) of length 1 into (sqrt 2, 0)
    # Position 1: the query is (0, 1) turned by 1 radian, (-sin 1, cos 1); keys are (1, 0) and the same turned vector.
    on_first = 1 / (1 + math.exp(scale * (1 + math.sin(1))))
    read = (on_first * root, (1 - on_first) * root)
    hidden = [(1 + root, 0.0), (read[0], 1 + read[1])]
    for row, (position, target) in zip(hidden, ((0, 1), (1, 0)), strict=True):
        length = math.sqrt((row[0] ** 2 + row[1] ** 2) / 2)
        logits = [component / length for component in row]
        np.testing.assert_allclose(actual.logits[0][0, position], logits, atol=1e-5)
        loss = math.log(sum(map(math.exp, logits))) - logits[target]
        np.testing.assert_allclose(actual.losses["per_example"][0, position], loss, rtol=1e-5)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_later_tokens_change_no_earlier_logits(framework):
    definition = BASE.shrunk()
    adapter = adapter_of(framework, definition)
    batch = fake_batch(definition, 2, seed=1)
    changed = {**batch, "inputs": batch["inputs"].copy()}
    changed["inputs"][:, 10:] = (changed["inputs"][:, 10:] + 1) % definition.model.vocab_size
    state = adapter.init(0)
    before, after = (adapter.forward_pass(state, b).logits[0] for b in (batch, changed))
    np.testing.assert_allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert np.abs(before[0, 10:] - after[0, 10:]).max() > 1e-3


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_the_gated_half_comes_first(framework):
    """(a, b) -> a * sigmoid(b): with b far below zero the block adds nothing."""
    definition = BASE.shrunk()
    adapter = adapter_of(framework, definition)
    weights = dict(adapter.export_weights(adapter.init(0)))
    name = "params/blocks_{}/Mlp_0/Dense_0/kernel"
    width = definition.model.mlp_width
    batch = fake_batch(definition, 2, seed=1)
    for layer in range(definition.model.num_layers):
        kernel = weights[name.format(layer)].copy()
        kernel[:, :width] = 0
        weights[name.format(layer)] = kernel
    first_half_zero = adapter.forward_pass(adapter.import_weights(weights), batch).logits[0]
    for layer in range(definition.model.num_layers):
        weights[f"params/blocks_{layer}/Mlp_0/Dense_1/kernel"] = np.zeros((width, definition.model.width), np.float32)
    without = adapter.forward_pass(adapter.import_weights(weights), batch).logits[0]
    np.testing.assert_allclose(first_half_zero, without, atol=1e-6)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_initial_distributions(framework):
    config = LanguageModelConfig(vocab_size=512, context=64, width=128, mlp_width=256, num_heads=4, num_layers=2)
    adapter = adapter_of(framework, dataclasses.replace(BASE, model=config))
    for name, value in adapter.export_weights(adapter.init(0)).items():
        if name.endswith("/attn_scale"):
            np.testing.assert_allclose(value, math.log2(64**2 - 64), rtol=1e-6)
        elif name.endswith("/scale"):
            np.testing.assert_array_equal(value, 1)
        else:
            to_residual = name.endswith(("attn_out_proj/kernel", "Dense_1/kernel"))
            stddev = 0.02 / math.sqrt(4) if to_residual else 0.02
            assert value.std() == pytest.approx(stddev, rel=0.03), name
            assert np.abs(value).max() > 3 * stddev, f"{name} is truncated"


def test_the_scale_of_the_full_model():
    assert LanguageModelConfig().initial_attention_scale == pytest.approx(19.99859, abs=1e-5)
    assert LanguageModelConfig().residual_stddev == pytest.approx(0.0040825, abs=1e-7)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
def test_evaluation_in_parts_gives_the_loss_of_all_logits(framework, monkeypatch):
    definition = BASE.shrunk()
    adapter = adapter_of(framework, definition)
    state, batch = adapter.init(0), fake_batch(definition, 4, seed=2)
    monkeypatch.setattr("workloads.finewebedu_lm.chunks._LOGITS_BYTES", 4 * 128 * 4 * 7)  # 7 positions: 6 divide 24
    assert positions_per_chunk(4, 24, 128) == 6
    whole = adapter.forward_pass(state, batch).losses["per_example"]
    parts = adapter.evaluate(state, batch)["loss"]
    np.testing.assert_allclose(parts[:3], whole[:3].mean(1), rtol=1e-5)


def test_an_evaluation_of_the_full_model_holds_one_gibibyte_of_logits():
    chunk = positions_per_chunk(256, 1_024, 50_257)
    assert 1_024 % chunk == 0
    assert 2**29 < 256 * chunk * 50_257 * 4 <= 2**30
    assert positions_per_chunk(10**6, 1_024, 50_257) == 1


def test_perplexity_is_the_exponential_of_the_mean_over_tokens():
    metrics = Perplexity()
    metrics.update({"loss": np.array([2.0, 4.0, 99.0])}, {"weights": np.array([1, 1, 0])})
    assert metrics.compute() == {"loss": 3.0, "ppl": pytest.approx(math.exp(3))}
    diverged = Perplexity()
    diverged.update({"loss": np.array([1e4])}, {"weights": np.array([1])})
    assert diverged.compute()["ppl"] == math.inf


def test_the_target_counts_as_reached_when_it_is_met():
    assert BASE.metric.reached(22.2995, BASE.validation_target)
    assert (BASE.test_target, BASE.splits.test) == (None, None)
