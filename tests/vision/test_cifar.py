import dataclasses
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.core import hashing

from algoperf.data import BatchRequest, Store, StoreError
from algoperf.data.places import store_dir
from algoperf.data.tfds_order import tfds_order
from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import Split, SplitSizes
from algoperf.prepared_data import data_digest
from workloads.cifar.data import augmented, open_split
from workloads.cifar.definition import BASE
from workloads.cifar.prepare import prepare

DEFINITION = dataclasses.replace(BASE, splits=SplitSizes(train=15, eval_train=4, validation=5, test=4))


@pytest.fixture
def pixels() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        split: (rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8), np.arange(count) % 10)
        for split, count in (("train", 20), ("test", 4))
    }


def files_of(pixels) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows of each batch file: pixels [n, 3072] in the order red, green, blue, and labels."""
    rows = {
        split: (images.transpose(0, 3, 1, 2).reshape(-1, 3072), labels) for split, (images, labels) in pixels.items()
    }
    train = [(f"data_batch_{i + 1}", tuple(array[4 * i : 4 * i + 4] for array in rows["train"])) for i in range(5)]
    return dict(train) | {"test_batch": rows["test"]}


def write_binary(root: Path, pixels) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, (rows, labels) in files_of(pixels).items():
        np.concatenate([labels[:, None].astype(np.uint8), rows], 1).tofile(folder / f"{name}.bin")
    return root


def write_python(root: Path, pixels) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, (rows, labels) in files_of(pixels).items():
        content = {b"data": rows, b"labels": labels.tolist(), b"batch_label": b"some text"}
        # Published files come from Python 2 and NumPy 1.
        dumped = pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        (folder / name).write_bytes(dumped)
    return root


def write_tfds(root: Path, pixels) -> Path:
    def features(tfds_features):
        return {"image": tfds_features.Image(shape=(32, 32, 3)), "label": tfds_features.ClassLabel(num_classes=10)}

    splits = {
        split: [{"image": image, "label": int(label)} for image, label in zip(*arrays, strict=True)]
        for split, arrays in pixels.items()
    }
    write_tfds_dataset(root, "cifar10", "3.0.2", features, splits)
    return root


def prepared(source_dir: Path, data_dir: Path) -> None:
    prepare(DEFINITION, data_dir, source_dir=source_dir, num_workers=1, report=lambda message: None)


def packed(write, archive: str):
    """The archive that unpacks to what `write` writes, and nothing else."""

    def pack(root: Path, pixels) -> Path:
        write(root, pixels)
        (folder,) = root.iterdir()
        with tarfile.open(root / archive, "w:gz") as file:
            file.add(folder, folder.name)
        shutil.rmtree(folder)
        return root

    return pack


FORMS = {
    "binary": write_binary,
    "python": write_python,
    "binary archive": packed(write_binary, "cifar-10-binary.tar.gz"),
    "python archive": packed(write_python, "cifar-10-python.tar.gz"),
}


def test_every_form_gives_one_store_in_the_order_of_tfds(pixels, tmp_path: Path) -> None:
    digests = set()
    for name, write in FORMS.items():
        prepared(write(tmp_path / name, pixels), tmp_path / name / "data")
        digests.add(data_digest(DEFINITION, tmp_path / name / "data"))
    assert len(digests) == 1
    hasher = hashing.Hasher("train")
    order = sorted(range(20), key=hasher.hash_key)  # the key of an image is its number in the binary files
    store = Store(store_dir(DEFINITION, tmp_path / "binary" / "data"))
    np.testing.assert_array_equal(store["train_images"], pixels["train"][0][order])


def test_an_archive_that_is_cut_or_lacks_a_batch_is_named(pixels, tmp_path: Path) -> None:
    root = FORMS["binary archive"](tmp_path / "raw", pixels)
    archive = root / "cifar-10-binary.tar.gz"
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"cifar-10-binary\.tar\.gz cannot be read"):
        prepared(root, tmp_path)
    with tarfile.open(archive, "w:gz"):
        pass
    with pytest.raises(StoreError, match=r"cifar-10-binary\.tar\.gz has no data_batch_1\.bin"):
        prepared(root, tmp_path)


@pytest.mark.parametrize("write", [write_binary, write_python, write_tfds])
def test_every_form_gives_the_images(write, pixels, tmp_path: Path) -> None:
    prepared(write(tmp_path / "raw", pixels), tmp_path)
    order = np.arange(20) if write is write_tfds else tfds_order("train", range(20))
    images, labels = (array[order] for array in pixels["train"])
    mean, stddev = np.array(BASE.data.train_mean), np.array(BASE.data.train_stddev)
    for split, rows in ((Split.VALIDATION, slice(15, 20)), (Split.EVAL_TRAIN, slice(0, 4))):
        source = open_split(DEFINITION, split, tmp_path)
        batch = source.read(BatchRequest(indices=np.arange(len(source)), batch_size=6))
        np.testing.assert_array_equal(batch["targets"][: len(source)], labels[rows])
        np.testing.assert_allclose(batch["inputs"][: len(source)], (images[rows] / 255 - mean) / stddev, atol=1e-5)
        assert batch["weights"].sum() == len(source)


def test_augmentation_crops_within_two_black_pixels_and_flips() -> None:
    images = np.random.default_rng(0).integers(1, 256, (300, 8, 8, 3)).astype(np.uint8)
    draws = np.random.default_rng(1).random((300, 3))
    changed = augmented(images, draws, 4)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = set()
    for image, original in zip(changed, padded, strict=True):
        candidates = {
            (top, left, flip): original[top : top + 8, left : left + 8][:, :: -1 if flip else 1]
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
        }
        matches = [how for how, candidate in candidates.items() if (candidate == image).all()]
        assert matches
        seen.update(matches)
    assert len(seen) > 45


def test_augmentation_is_a_function_of_seed_epoch_and_index(pixels, tmp_path: Path) -> None:
    prepared(write_binary(tmp_path / "raw", pixels), tmp_path)
    source = open_split(DEFINITION, Split.TRAIN, tmp_path)

    def read(indices: list[int], seed: int, epoch: int) -> np.ndarray:
        epochs = np.full(len(indices), epoch)
        request = BatchRequest(indices=np.array(indices), batch_size=len(indices), seed=seed, epochs=epochs)
        return source.read(request)["inputs"]

    np.testing.assert_array_equal(read([3, 1, 2], 0, 2)[1:], read([1, 2], 0, 2))
    assert (read(list(range(10)), 0, 2) != read(list(range(10)), 0, 3)).any()
    assert (read(list(range(10)), 0, 2) != read(list(range(10)), 1, 2)).any()


class _Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_damaged_and_hostile_files_are_refused(pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source_dir = write_python(tmp_path / "raw", pixels)
    victim = source_dir / "cifar-10-batches-py" / "data_batch_3"
    victim.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(StoreError, match=r"data_batch_3 is no CIFAR-10 batch"):
        prepared(source_dir, tmp_path)
    assert "executed" not in capsys.readouterr().out
    victim.unlink()
    with pytest.raises(StoreError, match="data_batch_3 is missing"):
        prepared(source_dir, tmp_path)
    with pytest.raises(StoreError, match="has neither"):
        prepared(tmp_path / "nothing", tmp_path)
