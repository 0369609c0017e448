"""Rows of text and utterances per second of CPU time that the training pipelines give, from prepared stores.

  python benchmarks/text_and_audio_input.py [--seconds=3] [--megabytes=128] [--folder=/dev/shm]

Packed rows of wmt, blocks of finewebedu_lm and utterances of LibriSpeech's lengths (2 to 17 seconds, 12.3 on average),
random values in stores of so many megabytes each, which stay in the page cache; batches of one card's share.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.data import ArraySource, Store, StoreWriter, TrainPipeline
from algoperf.registry import REGISTRY
from workloads.common.librispeech.data import SpeechSource
from workloads.finewebedu_lm import data as language_model
from workloads.wmt import data as translation

_SAMPLE_RATE = 16_000
_MEAN_S, _SHORTEST_S, _LONGEST_S = 12.3, 2.0, 17.0
_TOKENS_PER_S = 5


def stored(folder: Path, arrays: dict[str, np.ndarray]) -> Store:
    with StoreWriter(folder, {}) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
    return Store(folder)


def packed_rows(folder: Path, num_bytes: int, rng: np.random.Generator) -> ArraySource:
    model = REGISTRY.get("wmt").model
    shape = (num_bytes // (2 * len(translation.PACKED) * model.max_length), model.max_length)
    store = stored(folder, {n: rng.integers(0, model.vocab_size, shape).astype(np.uint16) for n in translation.PACKED})
    return ArraySource({name: store[name] for name in translation.PACKED}, transform=translation._as_batch)


def token_blocks(folder: Path, num_bytes: int, rng: np.random.Generator) -> ArraySource:
    model = REGISTRY.get("finewebedu_lm").model
    shape = (num_bytes // (2 * (model.context + 1)), model.context + 1)
    store = stored(folder, {"tokens": rng.integers(0, model.vocab_size, shape).astype(language_model.TOKEN_DTYPE)})
    return ArraySource({"tokens": store["tokens"]}, transform=language_model._as_batch)


def utterances(folder: Path, num_bytes: int, rng: np.random.Generator) -> SpeechSource:
    count = int(num_bytes / (2 * _MEAN_S * _SAMPLE_RATE))
    seconds = np.clip(rng.normal(_MEAN_S, 4.0, count), _SHORTEST_S, _LONGEST_S)
    samples, tokens = ((rate * seconds).astype(np.int64) for rate in (_SAMPLE_RATE, _TOKENS_PER_S))
    store = stored(
        folder,
        {
            "audio": rng.integers(-(2**15), 2**15, samples.sum(), dtype=np.int16),
            "tokens": rng.integers(1, 1_024, tokens.sum(), dtype=np.int16),
            "sample_starts": np.concatenate([[0], np.cumsum(samples)]),
            "token_starts": np.concatenate([[0], np.cumsum(tokens)]),
        },
    )
    return SpeechSource([store], REGISTRY.get("librispeech_conformer").data)


def rate(source: Any, batch_size: int, seconds: float) -> float:
    """Rows per second of CPU time."""
    batches = TrainPipeline(source, batch_size=batch_size, seed=0)
    for _ in itertools.islice(batches, 3):
        pass
    count, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        next(batches)
        count += 1
    return count * batch_size / spent


SOURCES: dict[str, tuple[Callable[[Path, int, np.random.Generator], Any], int]] = {
    "wmt rows of 256 + 256 tokens": (packed_rows, 64),
    "finewebedu_lm blocks of 1,024 tokens": (token_blocks, 16),
    "LibriSpeech utterances": (utterances, 32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU time of each line")
    parser.add_argument("--megabytes", type=int, default=128, help="of each store")
    parser.add_argument("--folder", type=Path, help="where to work; by default where temporary files go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number, (name, (open_source, batch_size)) in enumerate(SOURCES.items()):
            source = open_source(Path(folder) / str(number), options.megabytes * 10**6, np.random.default_rng(0))
            print(f"{name:40s} {rate(source, batch_size, options.seconds):12,.0f} per second of one core", flush=True)


if __name__ == "__main__":
    main()
