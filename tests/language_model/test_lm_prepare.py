"""From Parquet files to blocks of tokens: nothing lost, splits disjoint, interruptions survived, bad input refused."""

import dataclasses
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from algoperf.data import BatchRequest, Store, StoreError
from algoperf.definition import Split, SplitSizes
from algoperf.prepare import prepare_dataset
from algoperf.prepared_data import verify_dataset
from workloads.finewebedu_lm import prepare as preparation
from workloads.finewebedu_lm.data import open_split
from workloads.finewebedu_lm.definition import BASE, MINI
from workloads.finewebedu_lm.documents import is_held_out
from workloads.finewebedu_lm.raw import write_documents
from workloads.finewebedu_lm.sources import SOURCES
from workloads.finewebedu_lm.vocabulary import END_OF_TEXT, MERGES_FILE, Encoder


def _quiet(message):
    pass


def _prepare(definition, data_dir, folder, report=_quiet, num_workers=1):
    prepare_dataset(definition, data_dir, source_dir=folder, report=report, num_workers=num_workers)
    return Store(data_dir / "prepared" / definition.dataset)


def test_blocks_hold_the_documents_in_order_and_no_document_is_in_two_splits(real_lm, real_dir, texts, vocabulary):
    store, encoder = Store(real_dir / "prepared" / "finewebedu"), Encoder(vocabulary)
    present = [text for text in texts if text]
    for split, held_out in (("train", False), ("validation", True)):
        expected = END_OF_TEXT.join(text for text in present if is_held_out(text, 0.1) == held_out)
        actual = encoder.decode(store[split].reshape(-1))
        assert store[split].shape == (real_lm.splits.get(split), real_lm.model.context + 1)
        assert expected.startswith(actual.rstrip("�")), split
        assert len(actual) > 500
    assert store.meta["empty_documents"] == 2


def test_a_batch_predicts_each_token_from_those_before_it(real_lm, real_dir):
    source = open_split(real_lm, Split.VALIDATION, real_dir)
    batch = source.read(BatchRequest(indices=np.array([3, 1]), batch_size=3))
    stored = Store(real_dir / "prepared" / "finewebedu")["validation"]
    np.testing.assert_array_equal(batch["inputs"][:2], stored[[3, 1], :-1])
    np.testing.assert_array_equal(batch["targets"][:2], stored[[3, 1], 1:])
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "inputs": "int32",
        "targets": "int32",
        "weights": "float32",
    }
    assert batch["weights"].tolist() == [1, 1, 0]


def test_evaluated_training_blocks_are_the_first_ones(real_lm, real_dir):
    train, evaluated = (open_split(real_lm, split, real_dir) for split in (Split.TRAIN, Split.EVAL_TRAIN))
    assert (len(train), len(evaluated)) == (1_000, 30)
    request = BatchRequest(indices=np.arange(30), batch_size=30)
    np.testing.assert_array_equal(train.read(request)["inputs"], evaluated.read(request)["inputs"])


def test_the_mini_runs_through_the_same_code(tiny_mini, mini_dir):
    assert verify_dataset(tiny_mini, mini_dir) == 1
    raw = mini_dir / "prepared" / "finewebedu_mini_raw"
    assert {path.name for path in raw.iterdir()} == {"generated.json", "held_out.parquet", "train.parquet", "vocab.bpe"}
    columns = pyarrow.parquet.read_schema(raw / "train.parquet").names
    assert "text" in columns
    held_out = pyarrow.parquet.read_table(raw / "held_out.parquet")["text"].to_pylist()
    assert all(is_held_out(text, tiny_mini.data.held_out_share) for text in held_out)


def test_worker_processes_and_an_interruption_change_nothing(real_lm, raw_folder, real_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "ROWS_PER_PART", 32)
    monkeypatch.setattr(preparation, "_REPORT_PERIOD_S", 0.0)

    def stop(message):
        if message.startswith("encoded 64 documents"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _prepare(real_lm, tmp_path, raw_folder, stop)
    parts = tmp_path / "prepared" / "finewebedu.parts"
    finished = {path.name: (path / "store.json").stat().st_mtime_ns for path in parts.iterdir()}
    assert len(finished) == 2
    kept = {}

    def look(message):
        if message.startswith("writing"):
            kept.update({name: (parts / name / "store.json").stat().st_mtime_ns for name in finished})

    resumed, whole = _prepare(real_lm, tmp_path, raw_folder, look, 2), Store(real_dir / "prepared" / "finewebedu")
    assert kept == finished
    for split in ("train", "validation"):
        np.testing.assert_array_equal(resumed[split], whole[split])
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [".finewebedu.lock", "finewebedu"]


def test_parts_of_another_file_are_not_taken(real_lm, raw_files, real_dir, tmp_path, texts):
    folder, data_dir = tmp_path / "raw", tmp_path / "data"
    folder.mkdir()
    raw_files(folder)
    too_many = dataclasses.replace(real_lm, splits=SplitSizes(train=10**6, eval_train=30, validation=20, test=None))
    with pytest.raises(StoreError, match="needs 1,000,000"):
        _prepare(too_many, data_dir, folder)
    write_documents(folder / "000_00000.parquet", texts[5:90], rows_per_group=16)
    store = _prepare(real_lm, data_dir, folder)
    assert (store["train"] != Store(real_dir / "prepared" / "finewebedu")["train"]).any()


def test_it_reads_no_further_than_it_needs(real_lm, raw_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "ROWS_PER_PART", 16)
    few = dataclasses.replace(real_lm, splits=SplitSizes(train=100, eval_train=10, validation=2, test=None))
    assert _prepare(few, tmp_path, raw_folder).meta["documents"] < 90


def test_empty_documents_are_counted_aloud(real_lm, raw_folder, tmp_path):
    messages = []
    _prepare(real_lm, tmp_path, raw_folder, messages.append)
    assert "2 of 154 documents are empty and were left out" in messages
    assert any("documents/s" in message and "tokens/s" in message for message in messages)
    assert messages[-2] == "wrote 1,040 blocks of 25 tokens, 0.1 MB"


def _truncate(folder, real_lm):
    path = folder / "001_00000.parquet"
    path.write_bytes(path.read_bytes()[:-300])


def _damage(folder, real_lm):
    path = folder / "001_00000.parquet"
    content = bytearray(path.read_bytes())
    content[20:2000] = bytes(1980)
    path.write_bytes(content)


def _without_text(folder, real_lm):
    pyarrow.parquet.write_table(pyarrow.table({"content": ["a"], "id": ["b"]}), folder / "001_00000.parquet")


def _with_numbers(folder, real_lm):
    pyarrow.parquet.write_table(pyarrow.table({"text": [1, 2]}), folder / "001_00000.parquet")


def _with_empty_documents_alone(folder, real_lm):
    for name in ("000_00000", "001_00000"):
        write_documents(folder / f"{name}.parquet", ["", None, ""])


def _without_files(folder, real_lm):
    for path in folder.glob("*.parquet"):
        path.unlink()


def _with_few_documents(folder, real_lm):
    (folder / "001_00000.parquet").unlink()


def _with_a_larger_vocabulary(folder, real_lm):
    with (folder / MERGES_FILE).open("a") as file:
        file.write("Q Q\n")


def _with_another_vocabulary(folder, real_lm):
    lines = (folder / MERGES_FILE).read_text().splitlines()
    (folder / MERGES_FILE).write_text("\n".join([*lines[:-1], "Q Q", ""]))


def _with_a_damaged_vocabulary(folder, real_lm):
    (folder / MERGES_FILE).write_text("#version: 0.2\na b c\n")


def _without_a_vocabulary(folder, real_lm):
    (folder / MERGES_FILE).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, r"001_00000\.parquet is cut off or damaged .*; fetch it again"),
        (_damage, r"001_00000\.parquet is cut off or damaged .*; fetch it again"),
        (_without_text, r"001_00000\.parquet has no column 'text', it has content, id; use FineWeb-Edu's files"),
        (_with_numbers, r"column 'text' of .* must hold strings, it holds int64"),
        (
            _with_empty_documents_alone,
            "6 documents in .* give 0 blocks of 25 tokens for train, finewebedu_lm needs 1,000",
        ),
        (_without_files, r"has no Parquet file .*--source_dir"),
        (_with_few_documents, "90 documents in .* for train, finewebedu_lm needs 1,000; add the missing files"),
        (_with_a_larger_vocabulary, "has 321 tokens, expected 320"),
        (_with_another_vocabulary, "of the right size but of another tokenizer; fetch GPT-2's"),
        (_with_a_damaged_vocabulary, r"vocab\.bpe is not a byte-level BPE vocabulary .*fetch it again"),
        (_without_a_vocabulary, r"has no vocabulary; put GPT-2's there as one of vocab\.bpe, merges\.txt"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_bad_input_is_one_line(real_lm, raw_files, tmp_path, spoil, message):
    folder = tmp_path / "raw"
    folder.mkdir()
    raw_files(folder)
    spoil(folder, real_lm)
    with pytest.raises(StoreError, match=message) as error:
        _prepare(real_lm, tmp_path / "data", folder)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data" / "prepared" / "finewebedu").exists()


def test_a_store_for_another_vocabulary_or_world_is_refused(real_lm, real_dir, tiny_mini, mini_dir):
    other = dataclasses.replace(real_lm, model=dataclasses.replace(real_lm.model, vocab_size=96))
    with pytest.raises(StoreError, match=r"vocab_size = 320, finewebedu_lm needs 96; delete .* algoperf.prepare"):
        open_split(other, Split.TRAIN, real_dir)
    generator = dataclasses.replace(tiny_mini.data.generator, seed=8)
    other = dataclasses.replace(tiny_mini, data=dataclasses.replace(tiny_mini.data, generator=generator))
    with pytest.raises(StoreError, match="prepared with generator"):
        open_split(other, Split.TRAIN, mini_dir)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_store_is_noticed(real_lm, real_dir, tmp_path, damage):
    copy = tmp_path / "prepared" / "finewebedu"
    shutil.copytree(real_dir / "prepared" / "finewebedu", copy)
    content = bytearray((copy / "train.npy").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "train.npy").write_bytes(content[:-2] if damage == "truncate" else content)
    with pytest.raises(StoreError, match=r"train\.npy"):
        verify_dataset(real_lm, tmp_path)


def test_what_is_asked_for_is_what_can_be_fetched():
    (source,) = SOURCES
    assert source.dataset == BASE.dataset
    assert f"sha256:{BASE.data.vocabulary}" in {file.checksum for file in source.files}
    block_bytes = 2 * (BASE.model.context + 1)
    blocks = BASE.splits.train + BASE.splits.validation
    assert source.store_bytes == pytest.approx(blocks * block_bytes, rel=0.01)
    assert preparation.required_bytes(BASE) > 2 * blocks * block_bytes
    assert "--download" in preparation.how_to_get(BASE)
    assert "generated" in preparation.how_to_get(MINI)
