"""BLEU of the translations, loss and accuracy of the next token."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from algoperf.data.recipe import open_store
from algoperf.definition import Split, WorkloadDefinition
from workloads.wmt.data import recipe
from workloads.wmt.tokenizer import NumberTokenizer, Tokenizer

_ORDER = 4


class BleuStatistics:
    """Corpus BLEU (13a tokens, case-sensitive, order 4, exponential smoothing, one reference) from summed counts.

    The counts are those of sacrebleu, so that the value is its `corpus_score`.
    """

    def __init__(self) -> None:
        self._bleu = BLEU(tokenize="13a", smooth_method="exp", max_ngram_order=_ORDER, force=True)
        self.counts = np.zeros(2 + 2 * _ORDER, np.int64)  # lengths of hypotheses and references, matches, n-grams

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        if len(hypotheses) != len(references):
            raise ValueError(f"{len(hypotheses)} translations for {len(references)} references")
        if hypotheses:
            per_sentence = self._bleu._extract_corpus_statistics(list(hypotheses), [list(references)])
            self.counts += np.sum(per_sentence, axis=0, dtype=np.int64)

    def compute(self) -> float:
        """Returns BLEU between 0 and 100; 0 where nothing was counted."""
        return float(self._bleu._compute_score_from_stats(self.counts.tolist()).score)


class TranslationMetrics:
    """Accumulates `loss`, `accuracy` (both per target token) and `bleu`.

    Args:
      tokenizer: turns rows of tokens into sentences.
    """

    def __init__(self, tokenizer: Tokenizer | NumberTokenizer) -> None:
        self._tokenizer = tokenizer
        self._sums = {"loss": 0.0, "hits": 0.0, "tokens": 0.0}
        self._bleu = BleuStatistics()

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        real = np.asarray(batch["weights"]).any(axis=1)
        for name in self._sums:
            self._sums[name] += float(np.asarray(outputs[name], np.float64)[real].sum())
        translations = self._tokenizer.decode(np.asarray(outputs["translations"])[real])
        self._bleu.update(translations, self._tokenizer.decode(np.asarray(batch["targets"])[real]))

    def merge(self, other: "TranslationMetrics") -> None:
        for name, value in other._sums.items():
            self._sums[name] += value
        self._bleu.counts += other._bleu.counts

    def compute(self) -> dict[str, float]:
        tokens = self._sums["tokens"]
        if tokens == 0:
            raise ValueError("no target token was evaluated")
        return {
            "bleu": self._bleu.compute(),
            "loss": self._sums["loss"] / tokens,
            "accuracy": self._sums["hits"] / tokens,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"sums": self._sums, "counts": self._bleu.counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy from another process can be merged and computed, not updated: it has no tokenizer."""
        self._tokenizer = NumberTokenizer()
        self._sums, self._bleu = state["sums"], BleuStatistics()
        self._bleu.counts = state["counts"]


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path | None) -> TranslationMetrics:
    """Returns an empty accumulator; without `data_dir` tokens themselves are compared, as numbers."""
    if data_dir is None:
        return TranslationMetrics(NumberTokenizer())
    return TranslationMetrics(Tokenizer(open_store(definition, data_dir, recipe(definition))["tokenizer"].tobytes()))
