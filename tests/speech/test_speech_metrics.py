"""Word error rates: as everybody counts, and as AlgoPerf counts."""

import pickle

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.common.librispeech.metrics import SpeechMetrics, WordErrors, printed_tensor
from workloads.common.librispeech.tokenizer import END


class LetterTokenizer:
    """Piece n + 3 is the n-th of a few words."""

    WORDS = ("A", "B", "C", "DON'T", "E")

    def decode(self, rows):
        return [" ".join(self.WORDS[token - 3] for token in row if token > END) for row in rows]


def metrics_of(pairs):
    """Metrics of (hypothesis, reference) pairs of word numbers."""
    length = 8
    hypotheses, tokens = np.zeros((len(pairs), length), np.int32), np.zeros((len(pairs), length), np.int32)
    paddings = np.ones((len(pairs), length), np.float32)
    for row, (hypothesis, reference) in enumerate(pairs):
        hypotheses[row, : len(hypothesis)] = np.array(hypothesis, int) + 3
        tokens[row, : len(reference) + 1] = [*(np.array(reference, int) + 3), END]
        paddings[row, : len(reference) + 1] = 0
    outputs = {
        "ctc_loss": np.full(len(pairs), 2.0),
        "tokens": (1 - paddings).sum(1),
        "hypotheses": hypotheses,
    }
    metrics = SpeechMetrics(LetterTokenizer())
    metrics.update(outputs, {"targets": (tokens, paddings), "weights": 1 - paddings})
    return metrics


WORD_NUMBERS = st.lists(st.integers(0, 4), max_size=7)


@given(pairs=st.lists(st.tuples(WORD_NUMBERS, WORD_NUMBERS.filter(bool)), min_size=1, max_size=5))
def test_plain_rate_is_jiwers(pairs):
    texts = [[" ".join(LetterTokenizer.WORDS[number] for number in side) for side in pair] for pair in pairs]
    expected = jiwer.wer([reference for _, reference in texts], [hypothesis for hypothesis, _ in texts])
    assert metrics_of(pairs).compute()["plain_wer"] == pytest.approx(expected)


@given(words=st.lists(st.sampled_from(LetterTokenizer.WORDS), min_size=1, max_size=7))
def test_an_empty_hypothesis_has_an_error_for_each_word_and_two_more_words_count(words):
    errors = WordErrors()
    errors.add(printed_tensor("").split(), printed_tensor(" ".join(words)).split(" "))
    assert errors.errors == len(words)
    assert errors.words == len(words) + 2


def test_an_empty_reference_counts_three_words():
    assert len(printed_tensor("").split(" ")) == 3


def test_an_apostrophe_changes_the_quotes_of_the_wrapping():
    assert printed_tensor("A B") == "tf.Tensor(b'A B', shape=(), dtype=string)"
    assert printed_tensor("A DON'T") == 'tf.Tensor(b"A DON\'T", shape=(), dtype=string)'
    result = metrics_of([([0, 1, 2], [0, 3, 2])]).compute()  # one wrong word, which has the apostrophe
    assert result["plain_wer"] == pytest.approx(1 / 3)
    assert result["wer"] == pytest.approx(3 / 5)


def test_rates_and_loss_are_over_the_corpus():
    result = metrics_of([([0], [0, 1, 2]), ([4], [4])]).compute()
    assert result["plain_wer"] == pytest.approx(2 / 4)
    assert result["wer"] == pytest.approx(
        3 / 8
    )  # the last word carries the wrapping, so A is not A    assert result["ctc_loss"] == pytest.approx(4.0 / (4 + 2))


def test_merging_and_pickling():
    parts = [metrics_of([([0], [0, 1])]), metrics_of([([2, 2], [2]), ([], [3])])]
    whole = metrics_of([([0], [0, 1]), ([2, 2], [2]), ([], [3])]).compute()
    copy = pickle.loads(pickle.dumps(parts[0]))
    copy.merge(pickle.loads(pickle.dumps(parts[1])))
    assert copy.compute() == pytest.approx(whole)


def test_padding_rows_do_not_count():
    metrics, plain = metrics_of([([0], [0, 1])]), metrics_of([([0], [0, 1])])
    rows = {"ctc_loss": np.array([9.0]), "tokens": np.array([5.0]), "hypotheses": np.array([[3, 4]])}
    batch = {"targets": (np.array([[3]]), np.array([[1.0]])), "weights": np.zeros((1, 1))}
    metrics.update(rows, batch)
    assert metrics.compute() == plain.compute()


def test_no_example_is_an_error():
    with pytest.raises(ValueError, match="no target token"):
        SpeechMetrics(LetterTokenizer()).compute()
