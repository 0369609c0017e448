"""CIFAR-10 as TFDS dataset, as binary batches or as pickled Python batches, packed or not, to a store in TFDS order."""

import hashlib
import io
import pickle
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from algoperf.data import StoreError, StoreWriter
from algoperf.data.places import first_folder, new_store_dir
from algoperf.data.tfds_order import tfds_order
from algoperf.data.tfds_source import find_tfds_dataset, has_tfds_dataset, labelled_images
from algoperf.definition import WorkloadDefinition
from algoperf.reporting import Report

_SIDE = 32
_NUM_CLASSES = 10
_PUBLISHED_ROWS = 10_000  # of each batch
_ARCHIVES = {"cifar-10-batches-bin": "cifar-10-binary.tar.gz", "cifar-10-batches-py": "cifar-10-python.tar.gz"}
_BINARY = ("cifar-10-batches-bin", {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]})
_PYTHON = ("cifar-10-batches-py", {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]})
_PICKLED_NAMES = frozenset(
    {("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"), ("_codecs", "encode")}
)
# MD5 of the pickled batches, from torchvision 0.29's datasets/cifar.py.
_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

Arrays = tuple[np.ndarray, np.ndarray]


def prepare(
    definition: WorkloadDefinition,
    data_dir: Path,
    *,
    source_dir: Path | None,
    num_workers: int,
    report: Report,
) -> None:
    """Writes the store: `<split>_images` uint8 [n, 32, 32, 3] and `<split>_labels` int32 [n] for train and test.

    Raises:
      StoreError: files are missing or damaged (named).
    """
    del num_workers
    source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        raise StoreError(f"no CIFAR-10 under {data_dir}. {how_to_get(definition)}")
    sizes = definition.splits
    with StoreWriter(new_store_dir(definition, data_dir), {"source": str(source_dir)}) as writer:
        for split, expected in (("train", sizes.train + sizes.validation), ("test", sizes.test)):
            images, labels = _read_split(source_dir, split)
            if len(labels) != expected:
                raise StoreError(f"{source_dir}: split {split} should have {expected} images, found {len(labels)}")
            writer.add(f"{split}_images", images)
            writer.add(f"{split}_labels", labels.astype(np.int32))
            report(f"{split}: {len(labels)} images")


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""

    def holds(root: Path) -> bool:
        has_batches = any((root / name).is_dir() or (root / packed).is_file() for name, packed in _ARCHIVES.items())
        return has_batches or has_tfds_dataset(root, "cifar10")

    return first_folder(folder, ("cifar10", "cifar"), holds)


def how_to_get(definition: WorkloadDefinition) -> str:
    return (
        f"python -m algoperf.prepare {definition.name} --download --accept_licenses --data_dir=DIR downloads CIFAR-10 "
        "(170 MB) from https://www.cs.toronto.edu/~kriz/cifar.html and prepares it. Or put its archive (binary or "
        "Python version), what it unpacks to, or TFDS' cifar10 into a folder and add --source_dir=FOLDER"
    )


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that preparation takes."""
    return 200_000_000


def _read_split(source_dir: Path, split: str) -> Arrays:
    for (folder, files), read in ((_BINARY, _read_binary), (_PYTHON, _read_pickle)):
        contents = _contents(source_dir, folder, files[split])
        if contents is not None:
            images, labels = (
                np.concatenate(parts)
                for parts in zip(*(read(path, encoded) for path, encoded in contents), strict=True)
            )
            order = tfds_order(
                split, range(len(labels))
            )  # the end of the training data in this order is for validation
            return images[order], labels[order]
    try:
        tfds_dir = find_tfds_dataset(source_dir, "cifar10")
    except StoreError as error:
        raise StoreError(f"{source_dir} has neither {_BINARY[0]}, {_PYTHON[0]} nor TFDS' cifar10 ({error})") from error
    return labelled_images(tfds_dir, split, _NUM_CLASSES)


def _contents(source_dir: Path, folder: str, names: list[str]) -> list[tuple[Path, bytes]] | None:
    """Where the batches are, and their bytes, from a folder or the archive of it; None: neither is there."""
    path = source_dir / folder
    if path.is_dir():
        return [(path / name, _existing(path / name).read_bytes()) for name in names]
    packed = source_dir / _ARCHIVES[folder]
    if not packed.is_file():
        return None
    present: dict[str, bytes] = {}
    try:
        with tarfile.open(packed) as archive:
            for member in archive:
                file = archive.extractfile(member) if PurePosixPath(member.name).name in names else None
                if file is not None:
                    present[PurePosixPath(member.name).name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise StoreError(f"{packed} cannot be read ({reason}); download it again") from error
    missing = [name for name in names if name not in present]
    if missing:
        raise StoreError(f"{packed} has no {missing[0]}; download it again")
    return [(packed / name, present[name]) for name in names]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StoreError(f"{path} is missing; extract the archive again")
    return path


def _read_binary(path: Path, encoded: bytes) -> Arrays:
    """Records of one label byte and 3 x 32 x 32 pixels."""
    content = np.frombuffer(encoded, np.uint8)
    record = 1 + 3 * _SIDE * _SIDE
    if len(content) % record:
        raise StoreError(f"{path} should have a multiple of {record} bytes, found {len(content)}; extract it again")
    records = content.reshape(-1, record)
    return _checked(path, records[:, 1:], records[:, 0])


class _ArraysOnly(pickle.Unpickler):
    """Loads arrays, lists and dicts; refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file does")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_pickle(path: Path, encoded: bytes) -> Arrays:
    try:
        content = _ArraysOnly(io.BytesIO(encoded), encoding="bytes").load()
        pixels, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
    except Exception as error:  # a damaged pickle fails in every way that its instructions can
        raise StoreError(f"{path} is no CIFAR-10 batch ({error!r}); extract it again") from error
    images, labels = _checked(path, pixels, labels)
    if len(labels) == _PUBLISHED_ROWS and hashlib.md5(encoded).hexdigest() != _MD5.get(path.name):
        raise StoreError(f"{path} is damaged (its MD5 is not that of the published file); extract it again")
    return images, labels


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray) -> Arrays:
    """Images uint8 [n, 32, 32, 3] and labels [n] of pixels [n, 3 x 32 x 32]."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise StoreError(f"{path} should have labels along one axis, got {labels.dtype} {labels.shape}")
    shape = (len(labels), 3 * _SIDE * _SIDE)
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise StoreError(f"{path} should have pixels uint8 {shape}, got {pixels.dtype} {pixels.shape}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < _NUM_CLASSES:
        raise StoreError(f"{path} has labels {labels.min()} to {labels.max()}, expected 0 to 9; extract it again")
    return _channels_last(pixels), labels


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
