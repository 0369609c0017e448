"""Translation: caches change nothing, beam search follows its rules, packed sentences do not see each other."""

import dataclasses

import numpy as np
import pytest
from translation_frameworks import plain_beam_search, random_weights, translator

from workloads.wmt.data import fake_batch
from workloads.wmt.definition import DEFINITIONS, WMT

_in_each_framework = pytest.mark.parametrize(
    "framework", [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
)
_variant = pytest.mark.parametrize("definition", DEFINITIONS[:4], ids=lambda definition: definition.name)


_TINY = {"max_length": 10, "vocab_size": 24, "num_layers": 1}


def _small(definition, **changes):
    model = dataclasses.replace(definition.checks.small_model, **(_TINY | changes))
    return dataclasses.replace(definition, model=model)


def _loaded(framework, definition, seed=2, **options):
    model = translator(framework, definition)
    model.load(random_weights(definition, seed, **options))
    return model


@_in_each_framework
@_variant
def test_cached_beam_search_is_plain_beam_search(framework, definition):
    """The reference runs the whole decoder on every prefix and keeps hypotheses in lists."""
    small = _small(definition)
    model = _loaded(framework, small)
    inputs = fake_batch(small, 9, seed=1)["inputs"]
    ends = set()
    for beam_size in (1, 4) if definition is WMT else (4,):
        found = model.translate(inputs, beam_size)
        for source, translation in zip(inputs[:-1], found[:-1], strict=True):
            assert translation.tolist() == plain_beam_search(model, source, small.model, beam_size)
            ends.add(int(np.argmax(translation == 2)) if (translation == 2).any() else None)
    assert len(ends) >= 2, "these weights should give translations of different lengths"


@_in_each_framework
def test_a_beam_of_one_is_greedy_where_the_model_is_certain(framework):
    """Of sentences that greedy decoding ends; where it never ends one, the search takes any hypothesis that ended."""
    definition = _small(WMT)
    model = _loaded(framework, definition, seed=8, sharpness=30.0, end_bias=0.4)
    inputs = fake_batch(definition, 25, seed=2)["inputs"][:-1]
    tokens = np.ones((len(inputs), definition.model.max_length), np.int32)
    for position in range(definition.model.max_length - 1):
        tokens[:, position] = model.logits({"inputs": inputs, "targets": tokens})[:, position].argmax(-1)
    ended = (tokens[:, :-1] == 2).any(axis=1)
    assert len(set((tokens[ended] == 2).argmax(axis=1).tolist())) >= 2
    for greedy, found in zip(tokens[ended, :-1], model.translate(inputs, 1)[ended], strict=True):
        end = np.flatnonzero(greedy == 2)[0] + 1
        assert found.tolist() == [*greedy[:end].tolist(), *[0] * (len(greedy) - end)]


@_in_each_framework
def test_translations_do_not_depend_on_the_other_sentences(framework):
    definition = _small(WMT)
    model = _loaded(framework, definition)
    inputs = fake_batch(definition, 7, seed=3)["inputs"][:-1]
    together = model.translate(inputs, 4)
    with_padding = model.translate(np.concatenate([inputs[:2], np.zeros_like(inputs[:3])]), 4)
    np.testing.assert_array_equal(with_padding[:2], together[:2])


@pytest.mark.jax
@pytest.mark.torch
@_variant
def test_both_frameworks_translate_alike(definition):
    definition = _small(definition, vocab_size=64, max_length=16, num_layers=2)
    ours, theirs = (_loaded(framework, definition) for framework in ("jax", "pytorch"))
    inputs = fake_batch(definition, 33, seed=4)["inputs"][:-1]
    for beam_size in (1, 4) if definition.name == "wmt" else (4,):
        np.testing.assert_array_equal(ours.translate(inputs, beam_size), theirs.translate(inputs, beam_size))


def _packed_row(rng, lengths, max_length, vocab_size):
    """One row with sentences of the given lengths on both sides; each ends with the end token."""
    batch = {}
    for name in ("inputs", "targets"):
        tokens = [np.append(rng.integers(3, vocab_size, length - 1), 2) for length in lengths]
        segments = [np.full(length, number + 1) for number, length in enumerate(lengths)]
        positions = [np.arange(length) for length in lengths]
        for leaf, parts in ((name, tokens), (f"{name}_segmentation", segments), (f"{name}_position", positions)):
            row = np.concatenate(parts).astype(np.int32)
            batch[leaf] = np.pad(row, (0, max_length - len(row)))[None]
    return batch


@_in_each_framework
@_variant
def test_packed_sentences_do_not_see_each_other(framework, definition):
    """Other words in the first sentence leave the logits of the second as they are, and the other way round.

    The first input of a sentence is the end token of the one before, which does not change.
    """
    definition = _small(definition)
    model = _loaded(framework, definition)
    rng = np.random.default_rng(0)
    row, other = (_packed_row(rng, (4, 3), 10, 24) for _ in range(2))
    logits = model.logits(row)[0]
    for changed, kept in ((slice(0, 4), slice(4, 7)), (slice(4, 7), slice(0, 4))):
        mixed = {name: value.copy() for name, value in row.items()}
        for name in ("inputs", "targets"):
            mixed[name][0, changed] = other[name][0, changed]
        found = model.logits(mixed)[0]
        np.testing.assert_allclose(found[kept], logits[kept], rtol=0, atol=1e-5)
        assert np.abs(found[changed] - logits[changed]).max() > 1e-3


@_in_each_framework
def test_a_packed_sentence_is_translated_as_if_alone(framework):
    """Up to the first input: alone it is the start token, in a row the end token of the sentence before."""
    definition = _small(WMT)
    weights = random_weights(definition, 0)
    table = weights["params/shared_embedding/embedding"]
    table[2] = table[0]
    model = translator(framework, definition)
    model.load(weights)
    row = _packed_row(np.random.default_rng(1), (4, 5), 10, 24)
    alone = {name: np.pad(row[name][:, 4:9], ((0, 0), (0, 5))) for name in ("inputs", "targets")}
    np.testing.assert_allclose(model.logits(row)[0, 4:9], model.logits(alone)[0, :5], rtol=0, atol=1e-5)


@pytest.mark.torch
def test_fused_projections_start_as_separate_ones():
    """Glorot's limit of a 1024 x 1024 matrix, not that of the fused one."""
    from workloads.wmt.torch_transformer import CrossAttention, SelfAttention

    limit = (6 / 2048) ** 0.5
    for layer in (SelfAttention(WMT.model).in_proj, CrossAttention(WMT.model).kv_proj):
        assert float(layer.weight.detach().abs().max()) == pytest.approx(limit, rel=1e-3)


def test_positions_are_sines_then_cosines():
    from workloads.wmt.positions import sinusoids

    table = sinusoids(256, 1024)
    np.testing.assert_allclose(table[3, [0, 511, 512, 1023]], [0.14112, 3e-4, -0.98999, 1.0], atol=1e-5)
