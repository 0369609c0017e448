"""From raw sentence pairs to a store: nothing lost, interruptions survived, bad input refused with advice."""

import dataclasses
import shutil

import numpy as np
import pytest

from algoperf.data import BatchRequest, Store, StoreError
from algoperf.data.recipe import open_store
from algoperf.definition import Split
from algoperf.ownership import ForeignFilesError
from algoperf.prepare import prepare_dataset
from algoperf.prepared_data import verify_dataset
from workloads.wmt import prepare as preparation
from workloads.wmt.data import open_split, recipe
from workloads.wmt.definition import MINI, WMT
from workloads.wmt.tokenizer import Tokenizer, train_tokenizer


def _quiet(message):
    pass


def _decoded(tokenizer, rows, segments):
    """Texts of the sentences in packed rows."""
    return [
        tokenizer.decode(row[numbers == number][None])[0]
        for row, numbers in zip(rows, segments, strict=True)
        for number in range(1, numbers.max() + 1)
    ]


def test_packed_rows_hold_the_raw_sentences(real_wmt, real_dir, real_pairs):
    store = open_store(real_wmt, real_dir, recipe(real_wmt))
    tokenizer = Tokenizer(store["tokenizer"].tobytes())
    found = zip(
        *(_decoded(tokenizer, store[f"train_{s}"], store[f"train_{s}_segmentation"]) for s in ("inputs", "targets")),
        strict=True,
    )
    longest = real_wmt.model.max_length
    kept = [
        pair for pair in real_pairs["train"] if all(len(pieces) <= longest for pieces in tokenizer.encode(list(pair)))
    ]
    assert sorted(found) == sorted(kept)
    assert ("", "Nothing was said.") in kept
    assert store.meta["train_pairs_too_long"] == len(real_pairs["train"]) - len(kept) >= 1


def test_evaluated_sentences_are_the_raw_ones_in_order(real_wmt, real_dir, real_pairs):
    tokenizer = Tokenizer(open_store(real_wmt, real_dir, recipe(real_wmt))["tokenizer"].tobytes())
    source = open_split(real_wmt, Split.TEST, real_dir)
    batch = source.read(BatchRequest(indices=np.arange(len(source)), batch_size=len(source) + 3))
    texts = [tokenizer.decode(batch[name][: len(source)]) for name in ("inputs", "targets")]
    assert list(zip(*texts, strict=True)) == real_pairs["test"]
    assert not batch["weights"][len(source) :].any()
    np.testing.assert_array_equal(batch["weights"], batch["targets"] > 0)


def test_the_mini_runs_through_the_same_code(tiny_mini, mini_dir):
    assert verify_dataset(tiny_mini, mini_dir) == 1
    assert len(open_split(tiny_mini, Split.EVAL_TRAIN, mini_dir)) == tiny_mini.splits.eval_train
    raw = mini_dir / "prepared" / "wmt_mini_raw"
    assert (raw / "wmt17_translate" / "de-en" / "1.0.0" / "dataset_info.json").exists()
    shutil.rmtree(mini_dir / "prepared" / "wmt_mini")
    before = (raw / "generated.json").stat().st_mtime_ns
    prepare_dataset(tiny_mini, mini_dir, report=_quiet)
    assert (raw / "generated.json").stat().st_mtime_ns == before


def test_an_interrupted_preparation_goes_on_where_it_was(real_wmt, real_raw_dir, real_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "CHUNK_PAIRS", 160)

    def stop_after_two_chunks(message):
        if message.startswith("tokenised and packed 320"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(real_wmt, tmp_path, source_dir=real_raw_dir, report=stop_after_two_chunks)
    assert not (tmp_path / "prepared" / "wmt").exists()
    messages = []
    prepare_dataset(real_wmt, tmp_path, source_dir=real_raw_dir, report=messages.append)
    made = [message for message in messages if message.startswith("tokenised")]
    assert [message.split()[3] for message in made] == ["480", "600"]
    assert not any("training a tokenizer" in message for message in messages)
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [".wmt.lock", "wmt"]
    resumed, whole = Store(tmp_path / "prepared" / "wmt"), Store(real_dir / "prepared" / "wmt")
    np.testing.assert_array_equal(resumed["tokenizer"], whole["tokenizer"])
    assert resumed["train_inputs"].astype(bool).sum() == whole["train_inputs"].astype(bool).sum()


def test_missing_raw_data_are_named(real_wmt, tmp_path):
    with pytest.raises(StoreError, match="wmt17_translate"):
        prepare_dataset(real_wmt, tmp_path, report=_quiet)
    assert "prepare wmt --download" in preparation.how_to_get(WMT)
    assert "generated" in preparation.how_to_get(MINI)


def test_other_raw_data_are_refused(real_wmt, real_raw_dir, tmp_path):
    sizes = dataclasses.replace(real_wmt.splits, validation=26)
    with pytest.raises(StoreError, match="25 sentence pairs in 'validation', wmt needs 26"):
        prepare_dataset(dataclasses.replace(real_wmt, splits=sizes), tmp_path, source_dir=real_raw_dir, report=_quiet)


def test_raw_data_in_the_place_of_the_store_are_not_deleted(real_wmt, tmp_path):
    precious = tmp_path / "prepared" / "wmt" / "wmt17_translate" / "data"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    with pytest.raises(ForeignFilesError, match=r"wmt holds files .*: wmt17_translate/data"):
        prepare_dataset(real_wmt, tmp_path, report=_quiet)
    assert precious.read_text() == "precious"


def test_a_store_for_another_vocabulary_is_refused(real_wmt, real_dir):
    other = dataclasses.replace(real_wmt, model=dataclasses.replace(real_wmt.model, vocab_size=96))
    with pytest.raises(StoreError, match=r"vocab_size = 256, wmt needs 96; delete .* algoperf.prepare wmt"):
        open_split(other, Split.TRAIN, real_dir)


def test_another_generated_language_is_refused(tiny_mini, mini_dir):
    other = dataclasses.replace(tiny_mini, data=dataclasses.replace(tiny_mini.data, pair_seed=5))
    with pytest.raises(StoreError, match="prepared with pair_seed"):
        open_split(other, Split.TRAIN, mini_dir)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_store_is_noticed(real_wmt, real_dir, tmp_path, damage):
    copy = tmp_path / "prepared" / "wmt"
    shutil.copytree(real_dir / "prepared" / "wmt", copy)
    file = copy / "train_targets.npy"
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 2] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(contents[:-2] if damage == "truncate" else contents)
    with pytest.raises(StoreError, match=r"train_targets\.npy"):
        verify_dataset(real_wmt, tmp_path) if damage == "flip" else open_split(real_wmt, Split.TRAIN, tmp_path)


def test_text_too_small_for_a_vocabulary_is_refused():
    with pytest.raises(StoreError, match="cannot train a tokenizer of 500 pieces"):
        train_tokenizer(iter(["ein kurzer satz", "a short sentence"]), 500)


def test_a_damaged_tokenizer_is_refused():
    with pytest.raises(StoreError, match="tokenizer is damaged"):
        Tokenizer(b"no model")


def test_the_tokenizer_does_not_depend_on_the_number_of_workers(real_wmt, real_raw_dir, real_dir, tmp_path):
    prepare_dataset(real_wmt, tmp_path, source_dir=real_raw_dir, report=_quiet, num_workers=3)
    other, given = (Store(folder / "prepared" / "wmt")["tokenizer"] for folder in (tmp_path, real_dir))
    np.testing.assert_array_equal(other, given)
