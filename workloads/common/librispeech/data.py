"""Batches of the speech workloads: audio and tokens with paddings, read from a prepared store by index."""

import dataclasses
from pathlib import Path

import numpy as np

from algoperf.data import Batch, BatchRequest, Store, StoreError
from algoperf.data.recipe import Recipe, open_store, plain_recipe
from algoperf.data.shards import part_name
from algoperf.definition import Split, WorkloadDefinition
from workloads.common.librispeech import corpus
from workloads.common.librispeech.definition import SpeechData
from workloads.common.librispeech.tokenizer import Tokenizer

_FAKE_TONE_SAMPLES = 8_000
_SHORTEST_FAKE_SHARE = 0.6


class SpeechSource:
    """Utterances of several parts, in order. See `read` for what a batch holds.

    Args:
      parts: stores written by preparation.
      data: lengths of the batches.
      rows: the utterances that make up the split, as numbers in the concatenated parts; None means all.
    """

    def __init__(self, parts: list[Store], data: SpeechData, rows: np.ndarray | None = None) -> None:
        self._parts = [{name: np.asarray(array) for name, array in part.items()} for part in parts]
        self._first_rows = np.cumsum([0] + [len(part["token_starts"]) - 1 for part in self._parts])
        self._data = data
        self._rows = np.arange(self._first_rows[-1]) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def utterance(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Audio int16 [samples] and tokens int16 [tokens], without padding."""
        row = self._rows[index]
        number = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        part, local = self._parts[number], row - self._first_rows[number]
        return tuple(  # type: ignore[return-value]
            part[name][part[starts][local] : part[starts][local + 1]]
            for name, starts in (("audio", "sample_starts"), ("tokens", "token_starts"))
        )

    def read(self, request: BatchRequest) -> Batch:
        """Returns `inputs`: (audio float32 in the range of int16, paddings float32), [batch, max_samples] each;
        `targets`: (tokens int32, paddings float32), [batch, max_tokens] each; paddings are 0 where something is and 1
        elsewhere. In evaluation also `weights` float32 [batch, max_tokens], 1 - target paddings."""
        utterances = [self.utterance(index) for index in request.indices]
        batch = padded_batch(utterances, self._data, request.batch_size)
        return batch if request.seed is not None else with_weights(batch)


def padded_batch(utterances: list[tuple[np.ndarray, np.ndarray]], data: SpeechData, batch_size: int) -> Batch:
    """Pads pairs (audio [samples], tokens [tokens]) to the lengths of `data`, and with empty rows to `batch_size`."""
    leaves = {}
    for position, (name, length, dtype) in enumerate(
        (("inputs", data.max_samples, np.float32), ("targets", data.max_tokens, np.int32))
    ):
        values, lengths = np.zeros((batch_size, length), dtype), np.zeros(batch_size, np.int64)
        for row, utterance in enumerate(utterances):
            lengths[row] = len(utterance[position])
            values[row, : lengths[row]] = utterance[position]
        paddings = (np.arange(length) >= lengths[:, None]).astype(np.float32)
        leaves[name] = (values, paddings)
    return leaves


def with_weights(batch: Batch) -> Batch:
    """Adds the weights of evaluation: 1 for each target token."""
    return {**batch, "weights": 1 - batch["targets"][1]}


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> SpeechSource:
    """Opens one split; `eval_train` is evenly spread over the training utterances.

    Raises:
      StoreError: the store is missing, damaged, or was prepared with other settings.
    """
    store, data = open_store(definition, data_dir, recipe(definition)), definition.data
    folders = {Split.VALIDATION: data.validation_folders, Split.TEST: data.test_folders}.get(split, data.train_folders)
    parts = [
        Store(store.path / part_name(folder, number))
        for folder in folders
        for number in range(store.meta["num_parts"][folder])
    ]
    if split != Split.EVAL_TRAIN:
        return SpeechSource(parts, data)
    rows = np.linspace(0, definition.splits.train - 1, definition.splits.eval_train).astype(np.int64)
    return SpeechSource(parts, data, rows)


def open_tokenizer(definition: WorkloadDefinition, data_dir: Path) -> Tokenizer:
    """Opens the tokenizer of the store; a `tokenizer_vocab_path` must hold the same pieces.

    Raises:
      StoreError: there is none, it is damaged, or the pieces differ.
    """
    store, path = open_store(definition, data_dir, recipe(definition)), definition.data.tokenizer_vocab_path
    if "tokenizer" not in store:
        raise StoreError(f"{store.path} has no tokenizer; delete it and prepare the data again")
    ours = Tokenizer(store["tokenizer"].tobytes(), f"the tokenizer of {store.path}")
    if path is None:
        return ours
    if not Path(path).is_file():
        raise StoreError(f"no tokenizer at {path}")
    given = Tokenizer(Path(path).read_bytes(), path)
    if given.pieces != ours.pieces:
        raise StoreError(
            f"the targets of {store.path} were made with another tokenizer than {path}; leave the path out, or put the "
            "file into the raw data's folder as spm_model.vocab and prepare the data again"
        )
    return given


def recipe(definition: WorkloadDefinition) -> Recipe:
    """Everything that the contents of the store depend on, besides a real dataset."""
    settings = dataclasses.asdict(definition.data)
    del settings["tokenizer_vocab_path"]
    generator = definition.data.generator
    settings["utterances"] = dataclasses.asdict(definition.splits)
    settings["generated"] = None if generator is None else corpus.digest(generator)
    return plain_recipe(settings)


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Sequences of half-second tones with random tokens, of random lengths; the last row is padding where there are
    several."""
    rng, data = np.random.default_rng(seed), definition.data
    rows = max(1, batch_size - 1)
    utterances = []
    for _ in range(rows):
        num_samples = int(data.max_samples * rng.uniform(_SHORTEST_FAKE_SHARE, 1))
        num_tones = -(-num_samples // _FAKE_TONE_SAMPLES)
        pitch = np.repeat(2 ** (13 * rng.uniform(0.5, 0.9, num_tones)), _FAKE_TONE_SAMPLES)[:num_samples]
        audio = 3_000 * np.sin(2 * np.pi * pitch * np.arange(num_samples) / 16_000)
        num_tokens = int(rng.integers(max(1, data.max_tokens // 3), data.max_tokens + 1))
        utterances.append((np.round(audio), rng.integers(1, data.vocab_size, num_tokens)))
    return with_weights(padded_batch(utterances, data, batch_size))
