"""BLEU is sacrebleu's; padding does not count; parts merge to the whole."""

import pickle

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from algoperf.data.recipe import open_store
from workloads.wmt.data import recipe
from workloads.wmt.metrics import BleuStatistics, TranslationMetrics, make_metrics
from workloads.wmt.tokenizer import NumberTokenizer, Tokenizer, first_sentence

_words = st.sampled_from(
    ["the", "a", "cat", "U.S.", "3.5", "re-do", "&quot;x&quot;", "naïve", "«ja»", ",", "end.", "!"]
)
_sentence = st.lists(_words, max_size=12).map(" ".join)
_corpus = st.lists(st.tuples(_sentence, _sentence), min_size=1, max_size=8)


@given(_corpus)
def test_bleu_is_that_of_sacrebleu(corpus):
    hypotheses, references = map(list, zip(*corpus, strict=True))
    statistics = BleuStatistics()
    for start in range(0, len(corpus), 3):
        statistics.update(hypotheses[start : start + 3], references[start : start + 3])
    expected = sacrebleu.corpus_bleu(hypotheses, [references], force=True).score
    assert statistics.compute() == pytest.approx(expected, abs=1e-6)


def test_bleu_of_a_known_corpus():
    """Hand count: 5 of 6 unigrams, 3 of 5 bigrams, 2 of 4 trigrams, 1 of 3 four-grams, equal lengths."""
    statistics = BleuStatistics()
    statistics.update(["the cat sat on the mat"], ["the cat sat on a mat"])
    assert statistics.counts.tolist() == [6, 6, 5, 3, 2, 1, 6, 5, 4, 3]
    assert statistics.compute() == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_unequal_numbers_of_sentences_are_refused():
    with pytest.raises(ValueError, match="2 translations for 1 references"):
        BleuStatistics().update(["a", "b"], ["a"])


def test_a_sentence_ends_at_its_end_or_after_one_token():
    assert first_sentence(np.array([5, 6, 2, 7])) == [5, 6]
    assert first_sentence(np.array([2, 6])) == []
    assert first_sentence(np.array([5, 6, 7])) == [5]


def _outputs(rng, rows, length=9):
    targets = rng.integers(3, 9, (rows, length))
    targets[:, 6] = 2
    translations = np.where(rng.random((rows, length)) < 0.8, targets, 4)
    weights = (rng.random((rows, 1)) < 0.7) * np.ones((1, length), np.float32)
    tokens = weights.sum(1)
    outputs = {"loss": rng.random(rows) * 9, "hits": rng.integers(0, 9, rows), "tokens": tokens}
    return outputs | {"translations": translations}, {"targets": targets, "weights": weights}


@given(st.integers(0, 1000), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_parts_merge_to_the_whole_whatever_the_order(seed, sizes):
    rng = np.random.default_rng(seed)
    parts = [_outputs(rng, size) for size in [*sizes, 8]]
    whole, parallel = TranslationMetrics(NumberTokenizer()), []
    for outputs, batch in parts:
        whole.update(outputs, batch)
        parallel.append(TranslationMetrics(NumberTokenizer()))
        parallel[-1].update(outputs, batch)
    merged = pickle.loads(pickle.dumps(parallel[-1]))
    for part in parallel[:-1]:
        merged.merge(pickle.loads(pickle.dumps(part)))
    if whole._sums["tokens"] == 0:
        with pytest.raises(ValueError, match="no target token"):
            merged.compute()
        return
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_padded_rows_do_not_count():
    rng = np.random.default_rng(0)
    outputs, batch = _outputs(rng, 6)
    batch["weights"][:4], batch["weights"][4:] = 1, 0
    outputs["tokens"] = batch["weights"].sum(1)
    first = TranslationMetrics(NumberTokenizer())
    first.update({name: value[:4] for name, value in outputs.items()}, {n: v[:4] for n, v in batch.items()})
    padded = TranslationMetrics(NumberTokenizer())
    padded.update(outputs, batch)
    assert padded.compute() == first.compute()


def test_translations_are_scored_as_text(tiny_mini, mini_dir):
    store = open_store(tiny_mini, mini_dir, recipe(tiny_mini))
    tokenizer = Tokenizer(store["tokenizer"].tobytes())
    targets = np.asarray(store["validation_targets"])
    translations = targets[::-1]
    metrics = make_metrics(tiny_mini, "validation", mini_dir)
    ones = np.ones(len(targets))
    outputs = {"loss": ones, "hits": ones, "tokens": 2 * ones, "translations": translations}
    metrics.update(outputs, {"targets": targets, "weights": (targets > 0).astype(np.float32)})
    found = metrics.compute()
    expected = sacrebleu.corpus_bleu(tokenizer.decode(translations), [tokenizer.decode(targets)]).score
    assert found["bleu"] == pytest.approx(expected, abs=1e-6)
    assert found["loss"] == found["accuracy"] == 0.5
