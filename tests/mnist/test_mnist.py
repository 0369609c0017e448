"""MNIST and its mini: raw files to batches, and the model against NumPy."""

import dataclasses
import gzip
import struct
import zlib

import numpy as np
import pytest

from algoperf.data import EvalPipeline, Store, StoreError
from algoperf.data.places import store_dir
from algoperf.data.tfds_order import tfds_order
from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import Split, SplitSizes
from algoperf.prepare import ensure_prepared
from algoperf.registry import REGISTRY
from workloads.mnist import data, prepare

MINI_LABELS_CRC = {"train_labels": 4184538261, "test_labels": 276460010}


def silent(message):
    pass


@pytest.fixture(scope="module")
def mini_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    ensure_prepared(REGISTRY.get("mnist_mini"), directory, silent)
    return directory


@pytest.fixture
def small():
    """The full workload with 12 training, 4 validation and 3 test images."""
    return dataclasses.replace(
        REGISTRY.get("mnist"), splits=SplitSizes(train=12, eval_train=5, validation=4, test=3), dataset="small"
    )


def images_and_labels(count, seed):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 28, 28)).astype(np.uint8), generator.integers(0, 10, count, np.uint8)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(directory, *, compressed=False):
    directory.mkdir()
    parts = {}
    for split, prefix, count in (("train", "train", 16), ("test", "t10k", 3)):
        parts[split] = images, labels = images_and_labels(count, count)
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = gzip.compress(idx(array)) if compressed else idx(array)
            (directory / (name + ".gz" * compressed)).write_bytes(content)
    return parts


def run_prepare(definition, data_dir, source_dir):
    prepare.prepare(definition, data_dir, source_dir=source_dir, num_workers=1, report=silent)
    return Store(store_dir(definition, data_dir))


def test_order_is_that_of_tfds(tmp_path):
    from tensorflow_datasets.core.shuffle import Shuffler

    shuffler = Shuffler(tmp_path, hash_salt="train", disable_shuffling=False)
    for index in range(500):
        shuffler.add(index, str(index).encode())
    expected = [int(value) for _, value in shuffler]
    assert tfds_order("train", range(500)).tolist() == expected


def test_idx_files_and_tfds_give_the_same_store(tmp_path, small, monkeypatch):
    parts = write_idx(tmp_path / "plain")
    from_idx = run_prepare(small, tmp_path / "a", tmp_path / "plain")
    for split, (images, labels) in parts.items():
        order = tfds_order(split, range(len(labels)))
        np.testing.assert_array_equal(from_idx[f"{split}_images"][..., 0], images[order])
        np.testing.assert_array_equal(from_idx[f"{split}_labels"], labels[order])
    write_tfds_dataset(
        tmp_path / "tfds",
        "mnist",
        "3.0.1",
        lambda kinds: {"image": kinds.Image(shape=(28, 28, 1)), "label": kinds.ClassLabel(num_classes=10)},
        {
            split: [
                {"image": images[index][..., None], "label": int(labels[index])}
                for index in tfds_order(split, range(len(labels)))
            ]
            for split, (images, labels) in parts.items()
        },
    )
    from_tfds = run_prepare(small, tmp_path / "b", tmp_path / "tfds")
    monkeypatch.setattr(prepare, "_CHECKSUMS", {})
    write_idx(tmp_path / "compressed", compressed=True)
    from_gz = run_prepare(small, tmp_path / "c", tmp_path / "compressed")
    for name, array in from_idx.items():
        for other in (from_tfds, from_gz):
            assert other[name].dtype == array.dtype
            np.testing.assert_array_equal(other[name], array)


def test_training_and_validation_do_not_overlap(tmp_path, small):
    write_idx(tmp_path / "raw")
    store = run_prepare(small, tmp_path, tmp_path / "raw")
    labels = {}
    for split in Split:
        (batch,) = EvalPipeline(data.open_split(small, split, tmp_path), batch_size=16)
        labels[split] = batch["targets"][batch["weights"] > 0].tolist()
    assert labels[Split.TRAIN] + labels[Split.VALIDATION] == store["train_labels"].tolist()
    assert labels[Split.EVAL_TRAIN] == labels[Split.TRAIN][:5]
    assert labels[Split.TEST] == store["test_labels"].tolist()


def test_inputs_are_normalised_without_scaling_to_one(small):
    inputs = data.normalised(small, np.array([0, 1, 255], np.uint8))
    np.testing.assert_allclose(inputs, [-0.42421, 2.82149, 827.22915], rtol=1e-5)
    assert inputs.dtype == np.float32


def test_broken_sources_are_named(tmp_path, small, monkeypatch):
    with pytest.raises(StoreError, match=r"holds neither train-images-idx3-ubyte\[.gz\] nor the TFDS dataset"):
        run_prepare(small, tmp_path, tmp_path / "nothing")
    raw = tmp_path / "raw"
    write_idx(raw)
    larger = dataclasses.replace(small, splits=dataclasses.replace(small.splits, train=13))
    with pytest.raises(StoreError, match="expected 17 train examples, found 16"):
        run_prepare(larger, tmp_path, raw)
    labels = raw / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is no IDX file of bytes"):
        run_prepare(small, tmp_path, raw)
    labels.unlink()
    with pytest.raises(StoreError, match="lacks train-labels-idx1-ubyte"):
        run_prepare(small, tmp_path, raw)
    write_idx(tmp_path / "compressed", compressed=True)
    with pytest.raises(StoreError, match="not that of the published file"):
        run_prepare(small, tmp_path, tmp_path / "compressed")
    assert not (tmp_path / "prepared" / "small").exists()


def test_mini_holds_every_digit_of_scikit_learn_once(mini_dir):
    from sklearn.datasets import load_digits

    store = Store(mini_dir / "prepared" / "mnist_mini")
    images = np.concatenate([store["train_images"], store["test_images"]]).reshape(1797, 64)
    labels = np.concatenate([store["train_labels"], store["test_labels"]])
    digits = load_digits()
    expected = np.column_stack([digits.data, digits.target]).astype(int)
    found = np.column_stack([images, labels]).astype(int)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_split_of_the_mini_is_fixed(mini_dir):

    store = Store(mini_dir / "prepared" / "mnist_mini")
    assert {name: zlib.crc32(store[name].tobytes()) for name in MINI_LABELS_CRC} == MINI_LABELS_CRC


def test_mini_inputs_have_about_zero_mean_and_unit_variance(mini_dir):
    definition = REGISTRY.get("mnist_mini")
    source = data.open_split(definition, Split.TRAIN, mini_dir)
    (batch,) = EvalPipeline(source, batch_size=len(source))
    assert abs(batch["inputs"].mean()) < 0.02
    assert abs(batch["inputs"].std() - 1) < 0.02


@pytest.mark.parametrize(
    "framework", [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
)
def test_model_against_numpy(framework):
    from algoperf.testing.conformance.workload_fixture import WorkloadFixture

    fixture = WorkloadFixture(REGISTRY, "mnist_mini", framework)
    weights = fixture.weights
    batch = fixture.batch
    hidden = batch["inputs"].reshape(4, -1) @ weights["params/Dense_0/kernel"] + weights["params/Dense_0/bias"]
    hidden = 1 / (1 + np.exp(-hidden))
    logits = hidden @ weights["params/Dense_1/kernel"] + weights["params/Dense_1/bias"]
    np.testing.assert_allclose(fixture.evaluation.logits[0], logits, rtol=1e-5, atol=1e-5)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -log_probabilities[np.arange(4), batch["targets"]]
    np.testing.assert_allclose(fixture.outputs["loss"], losses, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(fixture.outputs["accuracy"], logits.argmax(-1) == batch["targets"])
