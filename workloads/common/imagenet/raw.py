"""Raw ImageNet in any of the forms in which people have it: TFDS folders, or class folders of image files.

| split | TFDS folder | class folders |
|---|---|---|
| train | `imagenet2012/<version>`, split `train` | `train/<class>/*` |
| validation | `imagenet2012/<version>`, split `validation` | `val/<class>/*` |
| test | `imagenet_v2/matched-frequency/<version>`, split `test` | `imagenetv2-matched-frequency-format-val/<label>/*` |

TFDS files may be ArrayRecord or TFRecord. Labels of class folders are positions in their sorted names (in numeric order
where the names are numbers), which for ImageNet equals TFDS' labels.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from algoperf.definition import Split
from algoperf.errors import UserError

_TFDS = {
    Split.TRAIN: ("imagenet2012", "train"),
    Split.VALIDATION: ("imagenet2012", "validation"),
    Split.TEST: ("imagenet_v2/matched-frequency", "test"),
}
_FOLDERS = {
    Split.TRAIN: "train",
    Split.VALIDATION: "val",
    Split.TEST: "imagenetv2-matched-frequency-format-val",
}
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


class RawDataError(UserError):
    """The raw dataset is missing, incomplete or damaged."""


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """One image as it is stored: `name` for messages, `label`, and the `encoded` bytes of the file."""

    name: str
    label: int
    encoded: bytes


def read_split(source_dir: Path, split: Split, num_classes: int) -> Iterator[RawImage]:
    """Yields the images of `split` in a fixed order; raises RawDataError that names what is missing."""
    dataset, tfds_split = _TFDS[split]
    tfds_folder = _latest_version(source_dir / dataset)
    if tfds_folder is not None:
        yield from _read_tfds(tfds_folder, tfds_split)
        return
    folder = source_dir / _FOLDERS[split]
    if not folder.is_dir():
        raise RawDataError(
            f"no {split} images under {source_dir}: expected the TFDS folder {dataset}/<version> "
            f"or the class folders {_FOLDERS[split]}/<class>"
        )
    yield from _read_class_folders(folder, num_classes)


def _latest_version(folder: Path) -> Path | None:
    versions = [path.parent for path in folder.glob("*/dataset_info.json")]
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def _read_tfds(folder: Path, split: str) -> Iterator[RawImage]:
    import tensorflow_datasets as tfds  # takes seconds to import

    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
        raise RawDataError(f"{folder} has no split {split!r}; it has {', '.join(builder.info.splits)}")
    features = builder.info.features
    decoders = {"image": tfds.decode.SkipDecoding()}
    expected, actual = builder.info.splits[split].num_examples, 0
    for path in builder.info.splits[split].filepaths:
        for number, record in enumerate(_records(Path(path))):
            example = features.deserialize_example_np(record, decoders=decoders)
            actual += 1
            yield RawImage(
                name=f"{path}, record {number}", label=int(example["label"]), encoded=bytes(example["image"])
            )
    if actual != expected:
        raise RawDataError(f"{folder}: split {split!r} should have {expected} images, found {actual}")


def _records(path: Path) -> Iterator[bytes]:
    """Yields the records of an ArrayRecord or TFRecord file."""
    if not path.is_file():
        raise RawDataError(f"{path} is missing")
    if ".array_record" in path.name:
        from array_record.python import array_record_module

        reader = array_record_module.ArrayRecordReader(str(path))
        try:
            for _ in range(reader.num_records()):
                yield reader.read()
        finally:
            reader.close()
    else:
        yield from _tfrecords(path)


def _tfrecords(path: Path) -> Iterator[bytes]:
    """Each record: length (uint64), its checksum (uint32), the bytes, their checksum (uint32).

    Checksums are CRC-32C, rotated and offset as in TensorFlow's `lib/hash/crc32c.h`.
    """
    with path.open("rb") as file:
        while header := file.read(12):
            if len(header) < 12:
                raise RawDataError(f"{path} ends within a record; download it again")
            _check(path, header[:8], header[8:])
            length = struct.unpack("<Q", header[:8])[0]
            record = file.read(length + 4)
            if len(record) != length + 4:
                raise RawDataError(f"{path} ends within a record; download it again")
            _check(path, record[:length], record[length:])
            yield record[:length]


def _check(path: Path, content: bytes, checksum: bytes) -> None:
    crc = google_crc32c.value(content)
    if ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32 != struct.unpack("<I", checksum)[0]:
        raise RawDataError(f"{path} is damaged (a record does not match its checksum); download it again")


def _read_class_folders(folder: Path, num_classes: int) -> Iterator[RawImage]:
    classes = [path for path in folder.iterdir() if path.is_dir()]
    numbered = all(path.name.isdecimal() for path in classes)
    classes.sort(key=lambda path: int(path.name) if numbered else path.name)
    if len(classes) != num_classes:
        raise RawDataError(
            f"{folder} should have {num_classes} class folders, found {len(classes)}; labels are positions in the "
            "sorted folder names, so none may be missing"
        )
    for label, class_folder in enumerate(classes):
        files = sorted(path for path in class_folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise RawDataError(f"class folder {class_folder} has no image (JPEG or PNG)")
        for path in files:
            yield RawImage(name=str(path), label=label, encoded=path.read_bytes())
