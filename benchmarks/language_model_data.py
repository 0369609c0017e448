"""What the data of the language models cost: encoding documents, and reading batches beside a training step.

  python benchmarks/language_model_data.py [--text=FOLDER] [--vocabulary=FOLDER] [--megabytes=32] [--num_workers=2]

Preparation: documents of a few kilobytes are cut from the text files below FOLDER (default: Python's library and its
documentation), written as Parquet and prepared with the vocabulary in the other folder, GPT-2's say (default: one of
50,257 tokens trained on the text). Batches: the mini's training pipeline against its step in PyTorch, in turn.
"""

import argparse
import dataclasses
import resource
import statistics
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np

from algoperf.data import Store, TrainPipeline
from algoperf.definition import Split, SplitSizes
from algoperf.prepare import prepare_dataset
from algoperf.registry import REGISTRY
from workloads.finewebedu_lm.raw import write_documents
from workloads.finewebedu_lm.vocabulary import MERGES_FILE, find_vocabulary, train_vocabulary

_DOCUMENT_CHARACTERS = 5_000  # FineWeb-Edu: 9.7 million documents of 4.9 kB on average
_ROWS_PER_GROUP = 1_000
_FILES = 4


def documents_of(folder: Path, num_characters: int) -> list[str]:
    """Pieces of the text files below `folder`, over and over until there are so many characters."""
    pieces: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".py", ".txt", ".md", ".rst"):
            text = path.read_text(errors="ignore")
            pieces += [text[i : i + _DOCUMENT_CHARACTERS] for i in range(0, len(text), _DOCUMENT_CHARACTERS)]
        if len(pieces) * _DOCUMENT_CHARACTERS > num_characters:
            break
    if not pieces:
        raise SystemExit(f"{folder} has no text files")
    count = num_characters // _DOCUMENT_CHARACTERS
    return (pieces * (count // len(pieces) + 1))[:count]


def preparation(options: argparse.Namespace, folder: Path) -> None:
    raw = folder / "raw"
    raw.mkdir()
    base = REGISTRY.get("finewebedu_lm")
    documents = documents_of(options.text, options.megabytes * 1_000_000)
    for number in range(_FILES):
        write_documents(raw / f"{number:03d}.parquet", documents[number::_FILES], _ROWS_PER_GROUP)
    if options.vocabulary is None:
        vocabulary = train_vocabulary(documents, base.model.vocab_size)
    else:
        vocabulary = find_vocabulary(options.vocabulary)
    (raw / MERGES_FILE).write_text(vocabulary.text())
    characters_per_token = 6  # more than there are, so that not all documents are needed
    blocks = sum(map(len, documents)) // characters_per_token // (base.model.context + 1)
    definition = dataclasses.replace(
        base,
        splits=SplitSizes(train=int(blocks * 0.95), eval_train=1, validation=1, test=None),
        data=dataclasses.replace(base.data, vocabulary=None),
    )
    started, cpu_s = time.perf_counter(), used_cpu_s()
    prepare_dataset(definition, folder, source_dir=raw, num_workers=options.num_workers, report=print)
    elapsed_s, cpu_s = time.perf_counter() - started, used_cpu_s() - cpu_s
    store = Store(folder / "prepared" / definition.dataset)
    tokens, written = sum(store.meta["tokens"].values()), sum(path.stat().st_size for path in store.path.iterdir())
    count = store.meta["documents"]
    print(
        f"prepared {count:,} documents, {tokens:,} tokens, {written / 1e6:.1f} MB, in {elapsed_s:.1f} s with "
        f"{options.num_workers} processes: {count / elapsed_s:,.0f} documents/s, {tokens / elapsed_s:,.0f} tokens/s; "
        f"of CPU time {count / cpu_s:,.0f} documents/s, {tokens / cpu_s:,.0f} tokens/s"
    )


def used_cpu_s() -> float:
    """CPU time of this process and of those that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def batches(folder: Path, repetitions: int) -> None:
    import torch

    definition = REGISTRY.get("finewebedu_lm_mini")
    prepare_dataset(definition, folder, report=lambda message: None, num_workers=1)
    source = REGISTRY.module(definition.name, "data").open_split(definition, Split.TRAIN, folder)
    pipeline = TrainPipeline(source, batch_size=definition.reference_batch_size, seed=0)
    model = REGISTRY.module(definition.name, "torch_model").build(definition)
    module, _ = model.init(None)
    read_s, step_s = [], []
    for _ in range(repetitions):
        started = time.perf_counter()
        batch = next(pipeline)
        read_s.append(time.perf_counter() - started)
        started = time.perf_counter()
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        logits, _ = model.forward(module, tensors, None, train=True, rng=None, update_batch_norm=True, dropout_rate=0.0)
        model.loss(tensors["targets"], logits, None, 0.0)["summed"].backward()
        step_s.append(time.perf_counter() - started)
    read, step = statistics.mean(read_s), statistics.mean(step_s)
    print(
        f"a batch of {definition.reference_batch_size} blocks takes {1e6 * read:.0f} µs (median "
        f"{1e6 * np.median(read_s):.0f}), a step {1e3 * step:.1f} ms: {read / step:.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--vocabulary", type=Path, default=None)
    parser.add_argument("--megabytes", type=int, default=32, help="of text")
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=100, help="training steps")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        preparation(options, Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        batches(Path(directory), options.repetitions)


if __name__ == "__main__":
    main()
