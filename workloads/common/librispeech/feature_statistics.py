"""Recomputes the statistics that normalise the log-mel features, from a prepared store:

    python -m workloads.common.librispeech.feature_statistics --data_dir=DIR [--workload=NAME] [--max_utterances=N]

and writes them into the data file of this package, under the name that the workload's model refers to.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from algoperf.definition import Split, WorkloadDefinition
from algoperf.registry import REGISTRY
from workloads.common.librispeech import features
from workloads.common.librispeech.data import SpeechSource, open_split

_REPORT_EVERY = 1_000


class RunningMoments:
    """Mean and standard deviation of each bin over frames that come in blocks (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = np.zeros(features.NUM_BINS)
        self._deviations = np.zeros(features.NUM_BINS)

    def add(self, frames: np.ndarray) -> None:
        """Adds frames [n, 80]."""
        if not len(frames):
            return
        mean, total = frames.mean(0), self.count + len(frames)
        step = mean - self.mean
        self._deviations += ((frames - mean) ** 2).sum(0) + step**2 * (self.count * len(frames) / total)
        self.mean += step * (len(frames) / total)
        self.count = total

    @property
    def stddev(self) -> np.ndarray:
        return np.sqrt(self._deviations / max(self.count, 1))


def compute(source: SpeechSource, max_utterances: int | None, report: Callable[[str], None] = print) -> RunningMoments:
    """Statistics over the frames of real samples of evenly spread utterances of `source`."""
    count = len(source) if max_utterances is None else min(max_utterances, len(source))
    moments = RunningMoments()
    for done, index in enumerate(np.linspace(0, len(source) - 1, count).astype(np.int64), 1):
        audio = source.utterance(index)[0][None]
        if audio.shape[1] >= features.FRAME_SAMPLES:
            moments.add(features.log_mel(audio, np.zeros(audio.shape, np.float32))[0])
        if done % _REPORT_EVERY == 0:
            report(f"{done:,} of {count:,} utterances, {moments.count:,} frames")
    return moments


def write(name: str, moments: RunningMoments, source: str, path: Path = features.STATISTICS_FILE) -> None:
    """Replaces the statistics called `name` in the data file."""
    known = json.loads(path.read_text()) if path.exists() else {}
    mean, stddev = ([round(float(value), 4) for value in array] for array in (moments.mean, moments.stddev))
    known[name] = {"source": source, "mean": mean, "stddev": stddev}
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(known.items()))
    path.write_text(f"{{\n{lines}\n}}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="where the prepared dataset lies")
    parser.add_argument("--workload", default="librispeech_conformer", help="workload whose training data are read")
    parser.add_argument("--max_utterances", type=int, default=None, help="read so many only, evenly spread")
    parser.add_argument("--output", type=Path, default=features.STATISTICS_FILE, help="data file to change")
    options = parser.parse_args()
    definition: WorkloadDefinition = REGISTRY.get(options.workload)
    source = open_split(definition, Split.TRAIN, options.data_dir)
    moments = compute(source, options.max_utterances)
    what = f"recomputed over {moments.count:,} frames of the training data of {definition.dataset}"
    write(definition.model.statistics, moments, what, options.output)
    print(f"{definition.model.statistics}: {what}; written to {options.output}")


if __name__ == "__main__":
    main()
