"""TFDS-layout datasets without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest

from algoperf.data import StoreError
from algoperf.data.tfds_source import TfdsSplit, find_tfds_dataset, write_tfds_dataset


def features(kinds):
    return {"image": kinds.Image(shape=(4, 5, 3)), "label": kinds.ClassLabel(num_classes=10), "text": kinds.Text()}


def example(number):
    return {"image": np.full((4, 5, 3), number % 256, np.uint8), "label": number % 10, "text": f"zwölf {number}"}


@pytest.fixture
def dataset(tmp_path):
    splits = {"train": map(example, range(300)), "test": map(example, range(5))}
    return write_tfds_dataset(tmp_path, "shapes", "1.2.0", features, splits)


def test_round_trip_keeps_order_and_values(dataset, tmp_path):
    train = TfdsSplit(find_tfds_dataset(tmp_path, "shapes"), "train")
    assert len(train) == 300
    for number, read in enumerate(train):
        assert read["label"] == number % 10
        assert read["text"].decode() == f"zwölf {number}"
        assert np.array_equal(read["image"], example(number)["image"])
    assert TfdsSplit(dataset, "train[100:150]")[7]["label"] == 7
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


def test_missing_and_tensorflow_only_datasets_are_named(tmp_path):
    with pytest.raises(StoreError, match="no TFDS dataset 'shapes'"):
        find_tfds_dataset(tmp_path, "shapes")
    folder = tmp_path / "shapes" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "shapes-train.tfrecord-00000-of-00001").write_bytes(b"")
    with pytest.raises(StoreError, match=r"convert_format --dataset_dir=.*shapes/1\.0\.0"):
        find_tfds_dataset(tmp_path, "shapes")


def test_reading_imports_no_framework(dataset):
    script = (
        "import sys; from pathlib import Path; from algoperf.data.tfds_source import TfdsSplit;"
        f"assert TfdsSplit(Path({str(dataset)!r}), 'test')[0]['image'].shape == (4, 5, 3);"
        "print([name for name in ('tensorflow', 'jax', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
