"""Laws of the speech models, in both frameworks: padding, masks, batch statistics, dropout sites, augmentation."""

import dataclasses
import math

import numpy as np
import pytest
from speech_adapter import adapter_of, batch_of, utterances

from algoperf.registry import REGISTRY
from workloads.common.librispeech.definition import SpecAugment

FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
NAMES = ("librispeech_conformer", "librispeech_deepspeech")
LENGTHS = (6_100, 3_200, 5_000)


def steps_of(length):
    """Real output steps: frames of 10 ms, halved and rounded up twice."""
    return math.ceil(math.ceil(math.ceil(length / 160) / 2) / 2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_longer_padding_changes_no_real_output(name, framework):
    """Where frames stay as even as they were: the strided convolutions pad odd lengths on both sides."""
    adapter, state = adapter_of(name, framework)
    pairs = utterances(LENGTHS)
    short = adapter.forward_pass(state(), batch_of(pairs))
    longer = adapter.forward_pass(state(), batch_of(pairs, max_samples=11_800))
    np.testing.assert_allclose(short.losses["per_example"], longer.losses["per_example"], rtol=2e-4)
    for row, length in enumerate(LENGTHS):
        real = steps_of(length)
        assert int((1 - short.logits[1][row]).sum()) == int((1 - longer.logits[1][row]).sum()) == real
        np.testing.assert_allclose(short.logits[0][row, :real], longer.logits[0][row, :real], atol=2e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_an_utterance_does_not_depend_on_its_company(name, framework):
    adapter, state = adapter_of(name, framework)
    pairs = utterances(LENGTHS)
    together = adapter.forward_pass(state(), batch_of(pairs)).losses["per_example"]
    others = [pairs[0], *utterances(LENGTHS[1:], seed=5)]
    alone = adapter.forward_pass(state(), batch_of(others)).losses["per_example"]
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_padding_rows_change_nothing_in_training(name, framework):
    """Batch statistics are those of real steps only."""
    adapter, state = adapter_of(name, framework)
    pairs = utterances(LENGTHS)
    plain = adapter.training_pass(state(), batch_of(pairs))
    padded = adapter.training_pass(state(), batch_of(pairs, batch_size=5))
    assert plain.loss == pytest.approx(padded.loss, rel=1e-5)
    np.testing.assert_allclose(padded.losses["per_example"][3:], 0)
    for key, value in plain.weights.items():
        np.testing.assert_allclose(padded.weights[key], value, atol=1e-5, err_msg=key)
    for key, value in plain.gradients.items():
        scale = max(1e-3, float(np.abs(value).max()))
        np.testing.assert_allclose(padded.gradients[key], value, atol=2e-3 * scale, err_msg=key)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_spec_augment_is_on_in_training_only(framework):
    switches = {"spec_augment": SpecAugment(time_masks=2, frequency_masks=2)}
    adapter, state = adapter_of("librispeech_conformer", framework, **switches)
    plain_adapter, plain_state = adapter_of("librispeech_conformer", framework)
    batch = batch_of(utterances(LENGTHS))
    found, plain = adapter.forward_pass(state(), batch), plain_adapter.forward_pass(plain_state(), batch)
    np.testing.assert_array_equal(found.logits[0], plain.logits[0])
    found, plain = (p.training_pass(s(), batch, seed=3) for p, s in ((adapter, state), (plain_adapter, plain_state)))
    assert np.abs(found.logits[0] - plain.logits[0]).max() > 1e-3
    np.testing.assert_array_equal(found.logits[1], plain.logits[1])


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_silence_and_empty_rows_are_finite(name, framework):
    adapter, state = adapter_of(name, framework)
    pairs = [(np.zeros(8_000), np.array([3, 2])), (np.zeros(1), np.array([2])), (np.zeros(0), np.array([], int))]
    found = adapter.training_pass(state(), batch_of(pairs))
    assert np.isfinite(found.loss)
    assert all(np.isfinite(gradient).all() for gradient in found.gradients.values())
    outputs = adapter.evaluate(state(), batch_of(pairs))
    assert all(np.isfinite(value).all() for value in outputs.values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("librispeech_conformer", {"attention_multiplier": 1.6}),
        ("librispeech_conformer", {"gelu": True}),
        ("librispeech_deepspeech", {"tanh": True}),
        ("librispeech_deepspeech", {"residual": False}),
    ],
)
def test_switches_change_the_outputs(name, switch, framework):
    batch = batch_of(utterances(LENGTHS))
    logits = []
    for switches in ({}, switch):
        adapter, state = adapter_of(name, framework, **switches)
        logits.append(adapter.forward_pass(state(), batch).logits[0])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


@pytest.mark.jax
def test_lstm_equals_a_step_by_step_computation_and_its_gradient_is_that_of_differences():
    import jax

    from workloads.common.jax.lstm import Weights
    from workloads.common.jax.lstm import lstm as layers

    def lstm(inputs, *weights):
        """The first of two layers, of which the second has other weights and inputs."""
        return layers([inputs, -inputs], [Weights(*weights), Weights(*(2 * w for w in weights))])[0]

    rng = np.random.default_rng(0)
    arrays = [rng.normal(0, 0.5, shape) for shape in ((2, 5, 3), (3, 8), (2, 8), (8,))]

    def reference(inputs, kernel, recurrent, bias):
        hidden = cell = np.zeros((2, 2))
        outputs = []
        for step in range(inputs.shape[1]):
            gates = inputs[:, step] @ kernel + hidden @ recurrent + bias
            i, f, g, o = np.split(gates, 4, axis=1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            cell = f * cell + i * np.tanh(g)
            hidden = o * np.tanh(cell)
            outputs.append(hidden)
        return np.stack(outputs, axis=1)

    np.testing.assert_allclose(lstm(*(a.astype("float32") for a in arrays)), reference(*arrays), atol=1e-5)
    inputs, *weights = arrays
    _, second = layers([inputs, -inputs], [Weights(*weights), Weights(*(2 * w for w in weights))])
    np.testing.assert_allclose(second, reference(-inputs, *(2 * w for w in weights)), atol=1e-5)
    weights = rng.normal(size=(2, 5, 2))
    gradients = jax.grad(lambda *a: (lstm(*a) * weights).sum(), argnums=(0, 1, 2, 3))(
        *(a.astype("float32") for a in arrays)
    )
    for number, gradient in enumerate(gradients):
        direction = rng.normal(size=arrays[number].shape)
        shifted = []
        for sign in (1, -1):
            moved = list(arrays)
            moved[number] = arrays[number] + sign * 1e-5 * direction
            shifted.append((reference(*moved) * weights).sum())
        expected = (shifted[0] - shifted[1]) / 2e-5
        assert float((np.asarray(gradient) * direction).sum()) == pytest.approx(expected, rel=1e-3)


def test_the_place_of_the_tokenizer_is_no_part_of_the_task():
    definition = REGISTRY.get("librispeech_conformer")
    elsewhere = dataclasses.replace(definition.data, tokenizer_vocab_path="/somewhere/spm_model.vocab")
    longer = dataclasses.replace(definition.data, max_samples=1_000_000)
    assert dataclasses.replace(definition, data=elsewhere).digest() == definition.digest()
    assert dataclasses.replace(definition, data=longer).digest() != definition.digest()


def test_published_parameter_counts_and_definitions():
    counts = {name: REGISTRY.get(name).checks.parameter_count for name in REGISTRY.names() if "librispeech" in name}
    assert counts["librispeech_conformer"] == counts["librispeech_conformer_gelu"] == 32_321_792
    assert counts["librispeech_conformer_layernorm"] == 32_317_696
    assert counts["librispeech_deepspeech"] == 18_381_312
    assert counts["librispeech_deepspeech_norm_and_spec_aug"] == 18_380_288
    assert REGISTRY.get("librispeech_deepspeech_norm_and_spec_aug").eval_batch_size == 128
    assert sum(1 for name in counts if not name.endswith("_mini")) == 8
