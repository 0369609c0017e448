"""Loss per token and perplexity."""

from pathlib import Path

import numpy as np

from algoperf.definition import Split, WorkloadDefinition
from algoperf.metrics import WeightedMeans

LOSS, PERPLEXITY = "loss", "ppl"


class Perplexity(WeightedMeans):
    """Accumulates `loss`, the mean over tokens in nats, and `ppl`, its exponential; infinite where that overflows.

    A row's loss is the mean over its tokens. Rows are equally long, so that a mean over rows is one over tokens.
    """

    def __init__(self) -> None:
        super().__init__((LOSS,))

    def compute(self) -> dict[str, float]:
        means = super().compute()
        with np.errstate(over="ignore"):
            return {**means, PERPLEXITY: float(np.exp(means[LOSS]))}


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path | None) -> Perplexity:
    """Returns an empty accumulator."""
    return Perplexity()
