"""Word error rate and CTC loss.

AlgoPerf's published targets rest on a peculiar count of words, which `wer` reproduces: what is compared is not the text
but the printed form of a tensor that holds it (`printed_tensor`). Every utterance so has two more words, which are
always right, and its first and last word carry the wrapping. `plain_wer` is the word error rate as everybody else
counts it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from algoperf.definition import Split, WorkloadDefinition
from workloads.common.librispeech.data import open_tokenizer
from workloads.common.librispeech.tokenizer import NumberTokenizer, Tokenizer


def printed_tensor(text: str) -> str:
    """How a scalar tensor that holds `text` prints; quotes change where the text has an apostrophe."""
    return f"tf.Tensor({text.encode()!r}, shape=(), dtype=string)"


class WordErrors:
    """Sums of word errors and of reference words over a corpus."""

    def __init__(self) -> None:
        self.errors = 0
        self.words = 0

    def add(self, hypothesis: Sequence[str], reference: Sequence[str]) -> None:
        """Counts the fewest insertions, deletions and substitutions of words."""
        self.errors += Levenshtein.distance(hypothesis, reference)
        self.words += len(reference)

    def merge(self, other: "WordErrors") -> None:
        self.errors += other.errors
        self.words += other.words

    def rate(self) -> float:
        """Errors per reference word; 0 or infinite where the reference has no word."""
        if self.words == 0:
            return 0.0 if self.errors == 0 else float("inf")
        return self.errors / self.words


class SpeechMetrics:
    """Accumulates `wer`, `plain_wer` and `ctc_loss` (nats per target token).

    Args:
      tokenizer: turns rows of tokens into text.
    """

    def __init__(self, tokenizer: Tokenizer | NumberTokenizer) -> None:
        self._tokenizer = tokenizer
        self._printed, self._plain = WordErrors(), WordErrors()
        self._loss, self._tokens = 0.0, 0.0

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Adds a batch.

        Args:
          outputs: `ctc_loss` and `tokens` [batch], `hypotheses` [batch, steps] filled up with blanks.
          batch: `targets` (tokens, paddings) [batch, length] each and `weights` of the same shape.
        """
        real = np.asarray(batch["weights"]).any(axis=1)
        self._loss += float(np.asarray(outputs["ctc_loss"], np.float64)[real].sum())
        self._tokens += float(np.asarray(outputs["tokens"], np.float64)[real].sum())
        tokens, paddings = (np.asarray(array)[real] for array in batch["targets"])
        references = self._tokenizer.decode(np.where(paddings > 0, 0, tokens))
        hypotheses = self._tokenizer.decode(np.asarray(outputs["hypotheses"])[real])
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            self._plain.add(hypothesis.split(), reference.split())
            # Each side is split as AlgoPerf does it; they differ for an empty reference only.
            self._printed.add(printed_tensor(hypothesis).split(), printed_tensor(reference).split(" "))

    def merge(self, other: "SpeechMetrics") -> None:
        self._printed.merge(other._printed)
        self._plain.merge(other._plain)
        self._loss += other._loss
        self._tokens += other._tokens

    def compute(self) -> dict[str, float]:
        if self._tokens == 0:
            raise ValueError("no target token was evaluated")
        return {
            "wer": self._printed.rate(),
            "ctc_loss": self._loss / self._tokens,
            "plain_wer": self._plain.rate(),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_tokenizer"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy from another process can be merged and computed, not updated: it has no tokenizer."""
        vars(self).update(state, _tokenizer=NumberTokenizer())


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path | None) -> SpeechMetrics:
    """Returns an empty accumulator; without `data_dir` tokens themselves are compared, as numbers.

    Raises:
      StoreError: there is no tokenizer, or the one asked for is not that of the store.
    """
    return SpeechMetrics(NumberTokenizer() if data_dir is None else open_tokenizer(definition, data_dir))
