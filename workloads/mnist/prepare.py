"""MNIST's four IDX files, or the TFDS dataset, to a store in TFDS order; the mini's IDX files from scikit-learn."""

import functools
import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from algoperf.data import StoreError, StoreWriter
from algoperf.data.places import first_folder, new_store_dir, raw_dir
from algoperf.data.tfds_order import tfds_order
from algoperf.data.tfds_source import find_tfds_dataset, has_tfds_dataset, labelled_images
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.mnist.sources import SOURCES

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_CHECKSUMS = {file.name: file.checksum for file in SOURCES[0].files}
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

    `source_dir`, or `data_dir` where there is none, holds the IDX files (plain or .gz) or the TFDS dataset.
    """
    if definition.tier is Tier.MINI:
        source_dir = raw_dir(definition, data_dir)
        generate_once(source_dir, f"{definition.splits}", functools.partial(write_digits, definition, source_dir))
    else:
        source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        raise StoreError(f"no MNIST under {data_dir}. {how_to_get(definition)}")
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
        f"python -m algoperf.prepare {definition.name} --download --accept_licenses --data_dir=DIR downloads MNIST (12 "
        f"MB) and prepares it. Or put {', '.join(_CHECKSUMS)} or the TFDS dataset `mnist` into a folder and add "
        "--source_dir=FOLDER"
    )


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
        order = tfds_order(split, range(len(labels)))  # the end of the training data in this order is for validation
        splits[split] = images[order][..., None], labels[order]
    return splits


def _find(directory: Path, name: str) -> Path | None:
    return next((path for path in (directory / name, directory / f"{name}.gz") if path.is_file()), None)


def _read_idx(directory: Path, name: str) -> np.ndarray:
    path = _find(directory, name)
    if path is None:
        raise StoreError(f"{directory} lacks {name}[.gz]")
    content = path.read_bytes()
    if path.name in _CHECKSUMS and f"sha256:{hashlib.sha256(content).hexdigest()}" != _CHECKSUMS[path.name]:
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
