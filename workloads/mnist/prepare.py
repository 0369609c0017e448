"""MNIST's four IDX files, or the TFDS dataset, to a store in TFDS order; the mini's IDX files from scikit-learn."""

import functools
import gzip
import hashlib
import math
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np

from algoperf.data import StoreError, StoreWriter
from algoperf.data.places import first_folder, new_store_dir, raw_dir
from algoperf.data.tfds_source import find_tfds_dataset, has_tfds_dataset, labelled_images
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report

DOWNLOAD_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# SHA-256 of the compressed files, from the url_checksums of tensorflow-datasets 4.9.10.
_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_DIGITS_SEED = 20
_NUM_CLASSES = 10


def prepare(
    definition: WorkloadDefinition,
    data_dir: Path,
    *,
    source_dir: Path | None,
    num_workers: int,
    report: Report,
) -> None:
    """Writes the store: `<split>_images` uint8 [n, height, width, 1] and `<split>_labels` int32 [n], train and test.

    `source_dir` holds the IDX files (plain or .gz) or the TFDS dataset; without one, and without such files in
    `data_dir`, the IDX files are downloaded (12 MB).
    """
    if definition.tier is Tier.MINI:
        source_dir = raw_dir(definition, data_dir)
        generate_once(source_dir, f"{definition.splits}", functools.partial(write_digits, definition, source_dir))
    else:
        source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        source_dir = raw_dir(definition, data_dir)
        download(source_dir, report)
    splits = _read_splits(source_dir)
    sizes = definition.splits
    _require_rows("train", len(splits["train"][1]), sizes.train + sizes.validation)
    _require_rows("test", len(splits["test"][1]), sizes.test or 0)
    with StoreWriter(new_store_dir(definition, data_dir), {"source": str(source_dir)}) as writer:
        for split, (images, labels) in splits.items():
            writer.add(f"{split}_images", images)
            writer.add(f"{split}_labels", labels.astype(np.int32))
            report(f"{split}: {len(labels)} images")


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""

    def holds(root: Path) -> bool:
        return _find(root, _FILES["train"][0]) is not None or has_tfds_dataset(root, "mnist")

    return first_folder(folder, (raw_dir(definition, folder), "mnist", "MNIST"), holds)


def how_to_get(definition: WorkloadDefinition) -> str:
    return (
        f"MNIST is 12 MB. With a network: python -m algoperf.prepare {definition.name} --data_dir=DIR downloads it. "
        f"Without: put {', '.join(_SHA256)} (from {DOWNLOAD_URL}) or the TFDS dataset `mnist` into a folder and add "
        "--source_dir=FOLDER"
    )


def download(directory: Path, report: Report, url: str = DOWNLOAD_URL) -> None:
    """Fetches the four IDX files that are not there yet, and compares their SHA-256."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, expected in _SHA256.items():
        if (directory / name).is_file():
            continue
        report(f"downloading {url}{name}")
        try:
            with urllib.request.urlopen(url + name, timeout=60) as response:
                content = response.read()
        except (urllib.error.URLError, OSError) as error:
            raise StoreError(
                f"cannot download {url}{name} ({error}); fetch it yourself and use --source_dir"
            ) from error
        actual = hashlib.sha256(content).hexdigest()
        if actual != expected:
            raise StoreError(f"{url}{name} has SHA-256 {actual}, expected {expected}; try again or use --source_dir")
        (directory / name).write_bytes(content)


def write_digits(definition: WorkloadDefinition, directory: Path) -> None:
    """Writes scikit-learn's digits as IDX files: a seeded choice of them for the test file, the rest for training."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(_DIGITS_SEED).permutation(len(digits.target))
    images = digits.images[order].astype(np.uint8)
    labels = digits.target[order].astype(np.uint8)
    num_test = definition.splits.test or 0
    directory.mkdir(parents=True, exist_ok=True)
    for split, rows in (("test", slice(num_test)), ("train", slice(num_test, None))):
        images_file, labels_file = _FILES[split]
        (directory / images_file).write_bytes(_to_idx(images[rows]))
        (directory / labels_file).write_bytes(_to_idx(labels[rows]))


def tfds_order(split: str, num_examples: int) -> np.ndarray:
    """Order in which TFDS stores the examples of an IDX file (int64 [n]): by MD5 of the split name and the index.

    The validation split is the end of the training data in this order, so that it is part of the task.
    """
    keys = [hashlib.md5(f"{split}{index}".encode()).digest() for index in range(num_examples)]
    return np.array(sorted(range(num_examples), key=keys.__getitem__))


def _read_splits(source_dir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if _find(source_dir, _FILES["train"][0]) is None:
        try:
            dataset = find_tfds_dataset(source_dir, "mnist")
        except StoreError:
            raise StoreError(
                f"{source_dir} holds neither {_FILES['train'][0]}[.gz] nor the TFDS dataset mnist"
            ) from None
        return {split: labelled_images(dataset, split, _NUM_CLASSES) for split in _FILES}
    splits = {}
    for split, names in _FILES.items():
        images, labels = (_read_idx(source_dir, name) for name in names)
        _require_rows(f"{split} labels", len(labels), len(images))
        if len(labels) and labels.max() >= _NUM_CLASSES:
            raise StoreError(f"{_find(source_dir, names[1])} has label {labels.max()}, expected 0 to 9; fetch it again")
        order = tfds_order(split, len(labels))
        splits[split] = images[order][..., None], labels[order]
    return splits


def _find(directory: Path, name: str) -> Path | None:
    return next((path for path in (directory / name, directory / f"{name}.gz") if path.is_file()), None)


def _read_idx(directory: Path, name: str) -> np.ndarray:
    path = _find(directory, name)
    if path is None:
        raise StoreError(f"{directory} lacks {name}[.gz]")
    content = path.read_bytes()
    if path.name in _SHA256 and hashlib.sha256(content).hexdigest() != _SHA256[path.name]:
        raise StoreError(f"{path} is damaged (its SHA-256 is not that of the published file); fetch it again")
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zeros, kind, num_axes = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{num_axes}I", content[4 : 4 + 4 * num_axes])
        pixels = np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise StoreError(f"{path} is no IDX file ({error}); fetch it again") from error
    expected_axes = 3 if "images" in name else 1
    if (zeros, kind, num_axes) != (0, 8, expected_axes) or len(pixels) != math.prod(shape):
        raise StoreError(f"{path} is no IDX file of bytes with {shape} values; fetch it again")
    return pixels.reshape(shape)


def _to_idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def _require_rows(what: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise StoreError(f"expected {expected} {what} examples, found {actual}")
