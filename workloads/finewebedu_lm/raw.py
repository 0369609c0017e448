"""The mini's raw data: generated documents in Parquet files, and a vocabulary trained on them."""

import functools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from algoperf.definition import WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.finewebedu_lm.data import recipe
from workloads.finewebedu_lm.documents import TEXT_COLUMN, held_out_nats
from workloads.finewebedu_lm.stories import documents
from workloads.finewebedu_lm.vocabulary import MERGES_FILE, Encoder, Vocabulary, train_vocabulary

_ROWS_PER_GROUP = 1_024
_VOCABULARY_DOCUMENTS = 2_000  # merges are counted in so many


def generate_raw(definition: WorkloadDefinition, folder: Path, report: Report) -> None:
    """Writes `train.parquet`, `held_out.parquet` and `vocab.bpe`, unless the same ones lie there.

    Raises:
      ForeignFilesError: `folder` holds other files.
    """
    settings = json.dumps(recipe(definition), sort_keys=True)
    generate_once(folder, settings, functools.partial(_write, definition, folder, report))


def perplexity_of_generator(definition: WorkloadDefinition, vocabulary: Vocabulary) -> float:
    """Perplexity of the held-out documents to whoever knows world, grammar and held-out pairs; no model can go below.

    Blocks that begin within a document hide its beginning, so that a model's own bound lies a little higher.
    """
    encoder, share = Encoder(vocabulary), definition.data.held_out_share
    nats, tokens = 0.0, 0
    for document, surprise in documents(definition.data.generator, held_out=True, share=share):
        nats += surprise - held_out_nats(share)
        tokens += len(encoder.encode(document))
    return math.exp(nats / tokens)


def _write(definition: WorkloadDefinition, folder: Path, report: Report) -> None:
    config, share = definition.data.generator, definition.data.held_out_share
    report(f"generating {config.train_documents + config.held_out_documents:,} documents into {folder}")
    texts = {
        name: [document for document, _ in documents(config, held_out=held_out, share=share)]
        for name, held_out in (("train", False), ("held_out", True))
    }
    for name, rows in texts.items():
        write_documents(folder / f"{name}.parquet", rows)
    vocabulary = train_vocabulary(texts["train"][:_VOCABULARY_DOCUMENTS], definition.model.vocab_size)
    (folder / MERGES_FILE).write_text(vocabulary.text(), encoding="utf-8")
    report(
        f"the generator itself has perplexity {perplexity_of_generator(definition, vocabulary):.3f} on held-out ones"
    )


def write_documents(path: Path, texts: Sequence[str | None], rows_per_group: int = _ROWS_PER_GROUP) -> None:
    """Writes a Parquet file in the layout of FineWeb-Edu, with the columns that are read and one that is not."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({TEXT_COLUMN: pyarrow.array(texts, pyarrow.string()), "id": list(_ids(path, len(texts)))})
    pyarrow.parquet.write_table(table, path, row_group_size=rows_per_group)


def _ids(path: Path, count: int) -> Iterator[str]:
    return (f"{path.stem}-{number}" for number in range(count))
