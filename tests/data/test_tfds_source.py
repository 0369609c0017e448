"""TFDS-layout datasets without TensorFlow."""

import random
import struct
import subprocess
import sys

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.data import StoreError
from algoperf.data.record_files import open_records, write_records
from algoperf.data.tfds_source import TfdsSplit, find_tfds_dataset, write_tfds_dataset


def features(kinds):
    return {"image": kinds.Image(shape=(4, 5, 3)), "label": kinds.ClassLabel(num_classes=10), "text": kinds.Text()}


def example(number):
    return {"image": np.full((4, 5, 3), number % 256, np.uint8), "label": number % 10, "text": f"zwölf {number}"}


@pytest.fixture(params=[("array_record", 1), ("tfrecord", 3)], ids=lambda form: form[0])
def dataset(tmp_path, request):
    splits = {"train": map(example, range(300)), "test": map(example, range(5))}
    file_format, num_shards = request.param
    return write_tfds_dataset(
        tmp_path, "shapes", "1.2.0", features, splits, file_format=file_format, num_shards=num_shards
    )


def test_round_trip_keeps_order_and_values(dataset, tmp_path):
    train = TfdsSplit(find_tfds_dataset(tmp_path, "shapes"), "train")
    assert len(train) == 300
    for number, read in enumerate(train):
        assert read["label"] == number % 10
        assert read["text"].decode() == f"zwölf {number}"
        assert np.array_equal(read["image"], example(number)["image"])
    part = TfdsSplit(dataset, "train[95:150]")
    assert [int(read["label"]) for read in part] == [number % 10 for number in range(95, 150)]
    assert (part[7]["label"], part[-1]["label"]) == (2, 9)
    with pytest.raises(IndexError):
        part[55]
    assert len(TfdsSplit(dataset, "test")) == 5


def test_images_can_stay_encoded(dataset):
    assert TfdsSplit(dataset, "test", raw=["image"])[0]["image"].startswith(b"\x89PNG")


def test_encoded_images_are_stored_as_they_are(dataset, tmp_path):
    encoded = TfdsSplit(dataset, "test", raw=["image"])[3]["image"]
    copied = write_tfds_dataset(
        tmp_path / "copy", "shapes", "1.2.0", features, {"test": [{**example(3), "image": encoded}]}
    )
    assert TfdsSplit(copied, "test", raw=["image"])[0]["image"] == encoded
    assert np.array_equal(TfdsSplit(copied, "test")[0]["image"], example(3)["image"])


def test_finds_configs_and_the_highest_version(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        write_tfds_dataset(tmp_path, "shapes", version, features, {"test": [example(1)]}, config="round")
    assert find_tfds_dataset(tmp_path, "shapes/round").name == "1.10.0"
    assert find_tfds_dataset(tmp_path, "shapes").name == "1.10.0"
    assert find_tfds_dataset(tmp_path / "shapes" / "round" / "1.9.0", "shapes").name == "1.9.0"


def test_missing_datasets_and_splits_are_named(dataset, tmp_path):
    with pytest.raises(StoreError, match="no TFDS dataset 'circles'"):
        find_tfds_dataset(tmp_path, "circles")
    with pytest.raises(StoreError, match="no split 'validation'; it has test, train"):
        TfdsSplit(dataset, "validation")
    for path in dataset.glob("*record*"):
        path.unlink()
    with pytest.raises(StoreError, match="holds no TFRecord and no ArrayRecord file"):
        find_tfds_dataset(tmp_path, "shapes")


def damage_description(dataset):
    (dataset / "dataset_info.json").write_text('{"name": "sha')


def damage_features(dataset):
    (dataset / "features.json").write_text('{"type": "nothing.Known"}')


def lose_a_file(dataset):
    max(dataset.glob("*train.*")).unlink()


def swap_files(dataset):
    """Whole, but of the other split: a wrong number of records."""
    max(dataset.glob("*train.*")).write_bytes(min(dataset.glob("*test.*")).read_bytes())


def other_records(dataset):
    path = max(dataset.glob("*train.*"))
    write_records(path, [b"no example"] * len(open_records(path, 300 if "array" in path.name else 100)))


@pytest.mark.parametrize("damage", [damage_description, damage_features, lose_a_file, swap_files, other_records])
def test_a_damaged_dataset_is_one_line_that_names_the_place(dataset, damage):
    damage(dataset)
    with pytest.raises(StoreError) as caught:
        list(TfdsSplit(dataset, "train"))
    assert str(dataset) in str(caught.value)
    assert "\n" not in str(caught.value)


RECORDS = [bytes([number]) * (number * 37 % 90) for number in range(20)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), file_format=st.sampled_from(["tfrecord", "array_record"]), is_cut=st.booleans())
def test_no_damage_gives_other_records(tmp_path_factory, seed, file_format, is_cut):
    path = tmp_path_factory.mktemp("records") / f"x.{file_format}-00000-of-00001"
    write_records(path, RECORDS)
    content = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(len(content) if file_format == "tfrecord" else 3000)
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << seed % 8
    path.write_bytes(content)
    refused = None
    try:
        records = open_records(path, len(RECORDS)).read(0, len(RECORDS))
    except StoreError as error:
        refused = str(error)
    if refused is None:  # padding between blocks of an ArrayRecord file
        assert file_format == "array_record"
        assert records == RECORDS
    else:
        assert str(path) in refused
        assert "\n" not in refused


def test_tfrecord_framing_is_that_of_tensorflow(tmp_path):
    """Written out once more: length, masked checksum of the length, content, masked checksum of the content."""

    def masked(part):
        crc = google_crc32c.value(part)
        return struct.pack("<I", (((crc >> 15) | ((crc << 17) & 0xFFFFFFFF)) + 0xA282EAD8) & 0xFFFFFFFF)

    path = tmp_path / "x.tfrecord-00000-of-00001"
    write_records(path, RECORDS)
    lengths = [struct.pack("<Q", len(record)) for record in RECORDS]
    assert path.read_bytes() == b"".join(
        length + masked(length) + record + masked(record) for length, record in zip(lengths, RECORDS, strict=True)
    )


def test_reading_imports_no_framework(dataset):
    script = (
        "import sys; from pathlib import Path; from algoperf.data.tfds_source import TfdsSplit;"
        f"assert TfdsSplit(Path({str(dataset)!r}), 'test')[0]['image'].shape == (4, 5, 3);"
        "print([name for name in ('tensorflow', 'jax', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
