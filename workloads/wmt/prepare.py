"""Sentence pairs, of statmt.org's archives or in the TFDS layout -> tokenizer -> packed rows in a store.

Also generates the raw data of the mini.

The corpus is worked through in chunks whose results are kept until the store is complete, so that an interrupted
preparation resumes.
"""

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from algoperf.data import StoreError, StoreWriter
from algoperf.data.places import first_folder, new_store_dir, raw_dir, work_dir
from algoperf.data.recipe import RECIPE
from algoperf.data.tfds_source import TfdsSplit, find_tfds_dataset, has_tfds_dataset, write_tfds_dataset
from algoperf.definition import WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.wmt.corpora import ARCHIVES, ArchivePairs, has_archives
from workloads.wmt.data import PACKED, PAIRS, recipe
from workloads.wmt.language_pair import LanguagePair
from workloads.wmt.packing import TOKEN_DTYPE, Ragged, pack
from workloads.wmt.tokenizer import Tokenizer, train_tokenizer
from workloads.wmt.work_folder import WorkFolder

GIVEN_TOKENIZER = "wmt_sentencepiece_model"  # the name that AlgoPerf gives to its SentencePiece model
CHUNK_PAIRS = 1 << 18  # a multiple of every pack_group
_BYTES_PER_PAIR = 1_000  # store and intermediate results, with a margin
_EVAL_SPLITS = ("validation", "test")


def prepare(
    definition: WorkloadDefinition, data_dir: Path, *, source_dir: Path | None, num_workers: int, report: Report
) -> None:
    """Writes the store `new_store_dir(definition, data_dir)`.

    Reads what `find_raw` finds; the mini generates its raw data first. A `wmt_sentencepiece_model` there is used in
    place of a new tokenizer. `num_workers` threads tokenise.

    Raises:
      StoreError: the raw data are missing, or are not those of the definition.
    """
    destination = new_store_dir(definition, data_dir)
    if definition.data.pair_seed is not None:
        source_dir = raw_dir(definition, data_dir)
        generate_raw(definition, source_dir, report)
    source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        raise StoreError(f"no {definition.data.train_builder} under {data_dir}. {how_to_get(definition)}")
    open_split = _open_raw(definition, source_dir)
    for split in ("train", *_EVAL_SPLITS):
        _check_count(definition, split, len(open_split(split)), source_dir)

    given = _given_tokenizer(definition, source_dir, report)
    work = WorkFolder(work_dir(definition, data_dir), recipe(definition) | {"given_tokenizer": _digest(given)})
    model = given or work.file("tokenizer.model", lambda: _tokenizer(definition, open_split, report))
    tokenizer = Tokenizer(model)
    chunks = list(_train_chunks(definition, open_split, tokenizer, work, num_workers, report))
    report(f"writing {destination}")
    with StoreWriter(destination, _meta(definition, chunks)) as store:
        store.add("tokenizer", np.frombuffer(tokenizer.model, np.uint8))
        for split in _EVAL_SPLITS:
            inputs, targets, _ = _encode(definition, open_split(split), tokenizer, num_workers)
            _add_pairs(definition, store, split, inputs, targets)
        _add_train(definition, store, chunks)
    work.remove()


class RawPairs(Protocol):
    """Sentence pairs of a split, in order."""

    def __len__(self) -> int: ...

    def located(self) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """Yields where a pair comes from (for messages), and its sides by language."""
        ...


OpenSplit = Callable[[str], RawPairs]  # takes the name of a split, or a slice such as `train[0:1000]`


def _open_raw(definition: WorkloadDefinition, source_dir: Path) -> OpenSplit:
    """The archives of statmt.org or the TFDS datasets, which hold the same pairs in the same order."""
    config = definition.data
    keys = (config.source_key, config.target_key)
    if has_archives(source_dir):
        return ArchivePairs(source_dir, keys).open_split
    train_dir = find_tfds_dataset(source_dir, config.train_builder)
    eval_dir = find_tfds_dataset(source_dir, config.eval_builder)
    return lambda split: TfdsSplit(train_dir if split.startswith("train") else eval_dir, split, required=keys)


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""
    below = (f"{definition.dataset}_raw", "wmt")
    builder = definition.data.train_builder
    return first_folder(folder, below, lambda root: has_archives(root) or has_tfds_dataset(root, builder))


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that preparation needs beside the raw data."""
    return definition.splits.train * _BYTES_PER_PAIR


def how_to_get(definition: WorkloadDefinition) -> str:
    """Returns instructions for people."""
    config = definition.data
    if config.pair_seed is not None:
        return f"generated on demand: python -m algoperf.prepare {definition.name} --data_dir=DATA_DIR"
    return (
        f"python -m algoperf.prepare {definition.name} --download --accept_licenses --data_dir=DIR downloads the "
        f"archives of statmt.org (1.9 GB: {', '.join(ARCHIVES)}) and prepares them. Or put the archives, or the TFDS "
        f"datasets {config.train_builder} and {config.eval_builder}, into a folder and add --source_dir=FOLDER. "
        f"Preparation needs {required_bytes(definition) / 1e9:.0f} GB beside the raw data."
    )


def generate_raw(definition: WorkloadDefinition, raw_dir: Path, report: Report) -> None:
    """Writes the generated language pair in the TFDS layout, unless the same one lies there.

    Raises:
      ForeignFilesError: `raw_dir` holds other files.
    """
    settings = json.dumps(recipe(definition), sort_keys=True)
    generate_once(raw_dir, settings, functools.partial(_write_pairs, definition, raw_dir, report))


def _write_pairs(definition: WorkloadDefinition, raw_dir: Path, report: Report) -> None:
    report(f"generating sentence pairs into {raw_dir}")
    pair, sizes, config = LanguagePair(definition.data.pair_seed), definition.splits, definition.data

    def examples(split: str, count: int, held_out: bool) -> Iterator[dict[str, str]]:
        for source, target in pair.sentences(split, count, held_out=held_out):
            yield {config.source_key: source, config.target_key: target}

    contents = {
        config.train_builder: {"train": examples("train", sizes.train, False)},
        config.eval_builder: {split: examples(split, sizes.get(split), True) for split in _EVAL_SPLITS},
    }
    for builder, splits in contents.items():
        name, languages, version = builder.split("/")
        write_tfds_dataset(
            raw_dir,
            name,
            version,
            lambda features: {key: features.Text() for key in (config.source_key, config.target_key)},
            splits,
            config=languages,
        )


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """A finished part of the training corpus: an .npz file of packed rows, and what went into it."""

    path: Path
    num_rows: int
    num_tokens: int
    num_too_long: int


def _check_count(definition: WorkloadDefinition, split: str, actual: int, directory: Path) -> None:
    expected = definition.splits[split]
    if actual != expected:
        raise StoreError(
            f"{directory} has {actual} sentence pairs in {split!r}, {definition.name} needs {expected}; "
            "check the version and the configuration of the raw dataset"
        )


def _given_tokenizer(definition: WorkloadDefinition, source_dir: Path, report: Report) -> bytes | None:
    path = source_dir / GIVEN_TOKENIZER
    if not path.is_file():
        return None
    report(f"using the tokenizer {path}")
    tokenizer = Tokenizer(path.read_bytes(), str(path))
    if tokenizer.vocab_size != definition.model.vocab_size:
        raise StoreError(f"{path} has {tokenizer.vocab_size} pieces, expected {definition.model.vocab_size}")
    return tokenizer.model


def _digest(model: bytes | None) -> str | None:
    return None if model is None else hashlib.sha256(model).hexdigest()


def _tokenizer(definition: WorkloadDefinition, open_split: OpenSplit, report: Report) -> bytes:
    config = definition.data
    report(f"training a tokenizer of {definition.model.vocab_size} pieces on {config.tokenizer_bytes:,} bytes")

    def lines() -> Iterator[str]:
        taken = 0
        for where, example in open_split("train").located():
            for key in (config.source_key, config.target_key):
                if taken >= config.tokenizer_bytes:
                    return
                taken += len(example[key]) + 1
                yield _text(where, example[key])

    text = list(lines())  # ahead, because the trainer wraps errors of what it iterates over
    return train_tokenizer(iter(text), definition.model.vocab_size)


def _text(where: str, sentence: bytes) -> str:
    try:
        return sentence.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{where} is no UTF-8 text ({error}); fetch it again") from error


def _encode(
    definition: WorkloadDefinition, examples: RawPairs, tokenizer: Tokenizer, num_workers: int
) -> tuple[Ragged, Ragged, int]:
    """Tokenises pairs and drops those with a side that is too long; returns inputs, targets and the number dropped."""
    config = definition.data
    sources, translations = [], []
    for where, example in examples.located():
        sources.append(_text(where, example[config.source_key]))
        translations.append(_text(where, example[config.target_key]))
    inputs = Ragged.from_lists(tokenizer.encode(sources, num_threads=num_workers))
    targets = Ragged.from_lists(tokenizer.encode(translations, num_threads=num_workers))
    retained = np.flatnonzero(np.maximum(inputs.lengths, targets.lengths) <= definition.model.max_length)
    return inputs.take(retained), targets.take(retained), len(inputs) - len(retained)


def _train_chunks(
    definition: WorkloadDefinition,
    open_split: OpenSplit,
    tokenizer: Tokenizer,
    work: WorkFolder,
    num_workers: int,
    report: Report,
) -> Iterator[_Chunk]:
    total, started, tokens_made = definition.splits.train, time.monotonic(), 0
    for start in range(0, total, CHUNK_PAIRS):
        stop = min(start + CHUNK_PAIRS, total)
        made_now = not (work.path / f"train-{start:09d}.npz").exists()
        path = work.arrays(
            f"train-{start:09d}.npz",
            functools.partial(_train_chunk, definition, open_split, start, stop, tokenizer, num_workers),
        )
        with np.load(path) as arrays:
            num_rows, num_tokens, num_too_long = (int(number) for number in arrays["counts"])
        if made_now:
            tokens_made += num_tokens
            rate = tokens_made / (time.monotonic() - started)
            report(f"tokenised and packed {stop:,} of {total:,} pairs, {rate:,.0f} tokens/s")
        yield _Chunk(path=path, num_rows=num_rows, num_tokens=num_tokens, num_too_long=num_too_long)


def _train_chunk(
    definition: WorkloadDefinition, open_split: OpenSplit, start: int, stop: int, tokenizer: Tokenizer, num_workers: int
) -> dict[str, np.ndarray]:
    """Packed rows of one stretch of the corpus; the first chunk also keeps the pairs of the eval_train split."""
    examples = open_split(f"train[{start}:{stop}]")
    inputs, targets, num_too_long = _encode(definition, examples, tokenizer, num_workers)
    if len(inputs) == 0:
        raise StoreError(f"no sentence pair of train[{start}:{stop}] fits into {definition.model.max_length} tokens")
    arrays: dict[str, np.ndarray] = {}
    if start == 0:
        first = np.arange(min(definition.splits.eval_train, len(inputs)))
        pairs = zip(PAIRS, (inputs, targets), strict=True)
        arrays = {f"eval_train_{name}": _padded(definition, side.take(first)) for name, side in pairs}
    order = _local_shuffle(len(inputs), definition.data.shuffle_window, seed=start)
    rows = pack(
        inputs.take(order).truncated_by_zeros(),
        targets.take(order).truncated_by_zeros(),
        definition.model.max_length,
        definition.data.pack_group,
    )
    num_tokens = int(inputs.lengths.sum() + targets.lengths.sum())
    counts = np.array([len(rows["inputs"]), num_tokens, num_too_long])
    return arrays | {f"train_{name}": rows[name] for name in PACKED} | {"counts": counts}


def _local_shuffle(count: int, window: int, seed: int) -> np.ndarray:
    """A permutation that moves nothing further than about two windows (sorts positions with noise added)."""
    rng = np.random.default_rng(seed)
    return np.argsort(np.arange(count) + rng.uniform(0, 2 * window, count), kind="stable")


def _padded(definition: WorkloadDefinition, sequences: Ragged) -> np.ndarray:
    return sequences.padded(definition.model.max_length)


def _add_pairs(definition: WorkloadDefinition, store: StoreWriter, split: str, inputs: Ragged, targets: Ragged) -> None:
    for name, side in zip(PAIRS, (inputs, targets), strict=True):
        store.add(f"{split}_{name}", _padded(definition, side))


def _add_train(definition: WorkloadDefinition, store: StoreWriter, chunks: list[_Chunk]) -> None:
    row_shape = (definition.model.max_length,)
    appenders = {name: store.appender(f"train_{name}", TOKEN_DTYPE, row_shape) for name in PACKED}
    for number, chunk in enumerate(chunks):
        with np.load(chunk.path) as arrays:
            for name, appender in appenders.items():
                appender.append(arrays[f"train_{name}"])
            if number == 0:
                for name in PAIRS:
                    store.add(f"eval_train_{name}", arrays[f"eval_train_{name}"])


def _meta(definition: WorkloadDefinition, chunks: list[_Chunk]) -> dict[str, Any]:
    return {
        "format": "wmt",
        RECIPE: recipe(definition),
        "train_rows": sum(chunk.num_rows for chunk in chunks),
        "train_tokens": sum(chunk.num_tokens for chunk in chunks),
        "train_pairs_too_long": sum(chunk.num_too_long for chunk in chunks),
    }
