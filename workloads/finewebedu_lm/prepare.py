"""Documents in Parquet files -> tokens -> blocks in a store; also generates the raw data of the mini.

Worker processes encode ranges of row groups into parts, which are kept until the store is complete, so that an
interrupted preparation resumes. The parts are then joined in the order of the files and cut into blocks.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.background import PROCESS_MARK
from algoperf.data import Store, StoreError, StoreWriter
from algoperf.data.places import new_store_dir, raw_dir
from algoperf.data.recipe import RECIPE
from algoperf.data.shards import adopt_parts, resume_parts, write_part
from algoperf.definition import Split, WorkloadDefinition
from algoperf.reporting import Report
from workloads.finewebedu_lm.data import TOKEN_DTYPE, recipe
from workloads.finewebedu_lm.documents import RowGroups, find_files, is_held_out, read_documents, row_groups
from workloads.finewebedu_lm.vocabulary import Encoder, Vocabulary, check_vocabulary, find_vocabulary

ROWS_PER_PART = 16_384
_REPORT_PERIOD_S = 5.0
_BYTES_PER_TOKEN = 2 * np.dtype(TOKEN_DTYPE).itemsize  # in a part and in the store
_PARTS = "part"
_SPLITS = (Split.TRAIN, Split.VALIDATION)


def prepare(
    definition: WorkloadDefinition, data_dir: Path, *, source_dir: Path | None, num_workers: int, report: Report
) -> None:
    """Writes the store `new_store_dir(definition, data_dir)`.

    Reads Parquet files and a vocabulary in `source_dir`, or in `data_dir / (dataset + "_raw")`; the mini generates both
    first. `num_workers` processes encode. Documents are used as long as a split needs some.

    Raises:
      StoreError: files are missing or damaged, have no texts, or too few for the splits, or the vocabulary is another.
    """
    source_dir = source_dir or data_dir / f"{definition.dataset}_raw"
    if definition.data.generator is not None:
        from workloads.finewebedu_lm.raw import generate_raw

        source_dir = raw_dir(definition, data_dir)
        generate_raw(definition, source_dir, report)
    store = new_store_dir(definition, data_dir)
    vocabulary = find_vocabulary(source_dir)
    check_vocabulary(vocabulary, definition.model.vocab_size, definition.data.vocabulary, source_dir)
    ranges = row_groups(find_files(source_dir), ROWS_PER_PART)
    resume_parts(store)
    encode = functools.partial(_encode_range, store, vocabulary, recipe(definition), definition.data.held_out_share)
    parts = _encode(definition, ranges, encode, num_workers, report)
    _check_blocks(definition, source_dir, parts)
    report(f"writing {store}")
    with StoreWriter(store, _meta(definition, vocabulary, parts)) as writer:
        writer.add("merges", np.frombuffer(vocabulary.text().encode(), np.uint8))
        for split in _SPLITS:
            _write_blocks(definition, writer, split, parts)
        adopt_parts(writer, store, [])
    blocks, written = sum(len(Store(store)[split]) for split in _SPLITS), sum(f.stat().st_size for f in store.iterdir())
    report(f"wrote {blocks:,} blocks of {definition.model.context + 1:,} tokens, {written / 1e6:,.1f} MB")


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that preparation needs beside the raw data."""
    tokens = sum(_tokens_needed(definition, split) for split in _SPLITS)
    return int(tokens * (1 + definition.data.held_out_share) * _BYTES_PER_TOKEN)


def how_to_get(definition: WorkloadDefinition) -> str:
    """Returns instructions for people."""
    if definition.data.generator is not None:
        return f"generated on demand: python -m algoperf.prepare {definition.name} --data_dir=DATA_DIR"
    return (
        "The raw data are the 14 Parquet files sample/10BT/*.parquet (about 28 GB) of HuggingFaceFW/fineweb-edu on "
        "huggingface.co,\nand GPT-2's vocabulary: vocab.bpe of OpenAI or the same as merges.txt, tokenizer.json or "
        "gpt2.tiktoken\n(the last is in the package openai-whisper). Put them into one folder, or fetch all with\n"
        f"  python -m algoperf.prepare {definition.name} --data_dir=DATA_DIR --download\n"
        "Then\n"
        f"  python -m algoperf.prepare {definition.name} --data_dir=DATA_DIR --source_dir=RAW_DIR\n"
        f"which needs {required_bytes(definition) / 1e9:.0f} GB under DATA_DIR while it runs, half of them in the end."
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Encoded documents of one range: a store of `train` and `validation` tokens, and what went into it."""

    path: Path
    num_documents: int
    num_empty: int
    tokens: dict[str, int]
    seconds: float


def _encode_range(
    store: Path,
    vocabulary: Vocabulary,
    made_for: dict[str, object],
    held_out_share: float,
    number: int,
    range_: RowGroups,
) -> _Part:
    """Writes a part, unless an earlier run did from the same file; called in worker processes."""
    meta = {
        RECIPE: made_for,
        "vocabulary": vocabulary.digest(),
        "file": range_.path.name,
        "file_bytes": range_.path.stat().st_size,
        "row_groups": [range_.first, range_.last],
    }
    started, written = time.monotonic(), False

    def write(writer: StoreWriter) -> None:
        nonlocal written
        written = True
        tokens, empty = _encoded(_encoder(vocabulary), read_documents(range_), held_out_share)
        for split, pieces in tokens.items():
            writer.add(split, np.concatenate([np.empty(0, TOKEN_DTYPE), *pieces]))
        writer.add("empty_documents", np.array([empty]))

    path = write_part(store, _PARTS, number, meta, write)
    part = Store(path)
    return _Part(
        path=path,
        num_documents=range_.num_rows,
        num_empty=int(part["empty_documents"][0]),
        tokens={split: len(part[split]) for split in _SPLITS},
        seconds=time.monotonic() - started if written else 0.0,
    )


def _encoded(
    encoder: Encoder, documents: Iterator[str], held_out_share: float
) -> tuple[dict[Split, list[np.ndarray]], int]:
    """Returns the tokens of the documents of each split, and how many documents were empty."""
    tokens: dict[Split, list[np.ndarray]] = {split: [] for split in _SPLITS}
    empty = 0
    for document in documents:
        if not document:
            empty += 1
            continue
        split = Split.VALIDATION if is_held_out(document, held_out_share) else Split.TRAIN
        tokens[split].append(np.array(encoder.encode(document), TOKEN_DTYPE))
    return tokens, empty


@functools.lru_cache(maxsize=1)
def _encoder(vocabulary: Vocabulary) -> Encoder:
    return Encoder(vocabulary)


def _encode(
    definition: WorkloadDefinition,
    ranges: Sequence[RowGroups],
    encode: Callable[[int, RowGroups], _Part],
    num_workers: int,
    report: Report,
) -> list[_Part]:
    """Encodes ranges in order until every split has the tokens that it needs."""
    parts: list[_Part] = []
    needed = {split: _tokens_needed(definition, split) for split in _SPLITS}
    started = reported = time.monotonic()
    with _in_order(encode, ranges, num_workers) as finished:
        for part in finished:
            parts.append(part)
            is_enough = all(sum(p.tokens[split] for p in parts) >= needed[split] for split in _SPLITS)
            is_last = is_enough or len(parts) == len(ranges)
            if is_last or time.monotonic() - reported > _REPORT_PERIOD_S:
                reported = time.monotonic()
                report(_progress(parts, needed, reported - started))
            if is_enough:
                break
    empty = sum(part.num_empty for part in parts)
    if empty:
        report(f"{empty:,} of {sum(part.num_documents for part in parts):,} documents are empty and were left out")
    return parts


def _progress(parts: list[_Part], needed: dict[Split, int], elapsed_s: float) -> str:
    new = [part for part in parts if part.seconds]
    documents, tokens = sum(p.num_documents for p in new), sum(sum(p.tokens.values()) for p in new)
    shares = ", ".join(
        f"{split} {min(1.0, sum(p.tokens[split] for p in parts) / count):.0%}" for split, count in needed.items()
    )
    rates = f"{documents / elapsed_s:,.0f} documents/s, {tokens / elapsed_s:,.0f} tokens/s"
    return f"encoded {sum(p.num_documents for p in parts):,} documents ({shares}), {rates}"


@contextlib.contextmanager
def _in_order(
    encode: Callable[[int, RowGroups], _Part], ranges: Sequence[RowGroups], num_workers: int
) -> Iterator[Iterator[_Part]]:
    """Yields the parts in order; what has not begun at the end of the block is not done any more."""
    if num_workers == 1 or len(ranges) == 1:
        yield map(encode, range(len(ranges)), ranges)
        return
    import loky

    executor = loky.ProcessPoolExecutor(
        min(num_workers, len(ranges)), env={PROCESS_MARK: "1", "TOKENIZERS_PARALLELISM": "false"}
    )
    try:
        yield executor.map(encode, range(len(ranges)), ranges)
    except loky.BrokenProcessPool as broken:
        raise StoreError(
            "a worker ended; if it was killed, memory may be short: try a smaller --num_workers"
        ) from broken
    finally:
        executor.shutdown(kill_workers=True)


def _check_blocks(definition: WorkloadDefinition, source_dir: Path, parts: list[_Part]) -> None:
    block = definition.model.context + 1
    for split in _SPLITS:
        actual, expected = sum(part.tokens[split] for part in parts) // block, definition.splits.get(split)
        if actual < expected:
            documents = sum(part.num_documents for part in parts)
            raise StoreError(
                f"{documents:,} documents in {source_dir} give {actual:,} blocks of {block:,} tokens for {split}, "
                f"{definition.name} needs {expected:,}; add the missing files"
            )


def _write_blocks(definition: WorkloadDefinition, writer: StoreWriter, split: Split, parts: list[_Part]) -> None:
    """Cuts the tokens of all parts, in order, into blocks; the last incomplete block is dropped."""
    block = definition.model.context + 1
    appender = writer.appender(split, TOKEN_DTYPE, (block,))
    rest = np.empty(0, TOKEN_DTYPE)
    for part in parts:
        tokens = np.concatenate([rest, Store(part.path)[split]])
        num_blocks = min(len(tokens) // block, definition.splits.get(split) - appender.rows)
        appender.append(tokens[: num_blocks * block].reshape(-1, block))
        rest = tokens[num_blocks * block :]
        if appender.rows == definition.splits.get(split):
            return


def _tokens_needed(definition: WorkloadDefinition, split: Split) -> int:
    block_tokens: int = definition.model.context + 1
    return definition.splits.get(split) * block_tokens


def _meta(definition: WorkloadDefinition, vocabulary: Vocabulary, parts: list[_Part]) -> dict[str, Any]:
    return {
        "format": "blocks of tokens",
        RECIPE: recipe(definition),
        "vocabulary": vocabulary.digest(),
        "documents": sum(part.num_documents for part in parts),
        "empty_documents": sum(part.num_empty for part in parts),
        "tokens": {str(split): sum(part.tokens[split] for part in parts) for split in _SPLITS},
    }
