"""Datasets in the TFDS layout (TFRecord or ArrayRecord files), read and written without TensorFlow.

The import of `tensorflow_datasets` happens inside the functions: it takes seconds and only preparation needs it.
"""

import bisect
import io
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.data.record_files import ARRAY_RECORD, TFRECORD, RecordFile, open_records, write_records
from algoperf.data.store import StoreError

_READ_RECORDS = 256


def find_tfds_dataset(source_dir: Path, name: str) -> Path:
    """Returns the folder of dataset `name` (`name/version` or `name/config/version`) with `dataset_info.json`.

    Looks in `source_dir / name`, `source_dir` and up to two levels below; of several versions takes the highest.

    Raises:
      StoreError: there is none, or it has no file of records.
    """
    below_name = _with_info(source_dir / name)
    elsewhere = [path for path in _with_info(source_dir) if path == source_dir or name.split("/")[0] in path.parts]
    candidates = below_name or elsewhere
    if not candidates:
        raise StoreError(f"no TFDS dataset {name!r} under {source_dir} (no dataset_info.json found)")
    chosen = candidates[-1]
    if not any(any(chosen.glob(f"*.{suffix}*")) for suffix in (TFRECORD, ARRAY_RECORD)):
        raise StoreError(f"{chosen} holds no TFRecord and no ArrayRecord file; fetch the dataset again")
    return chosen


def has_tfds_dataset(source_dir: Path, name: str) -> bool:
    """Whether `find_tfds_dataset` finds it."""
    try:
        find_tfds_dataset(source_dir, name)
    except StoreError:
        return False
    return True


def _with_info(root: Path) -> list[Path]:
    """Folders with a `dataset_info.json` at most two levels down (millions of files may lie below), oldest first."""
    folders = {path.parent for levels in ("", "*/", "*/*/") for path in root.glob(f"{levels}dataset_info.json")}
    return sorted(folders, key=_version_key)


def _version_key(path: Path) -> tuple[tuple[int, ...], str]:
    parts = path.name.split(".")
    return (tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (), str(path))


class TfdsSplit(Sequence[dict[str, Any]]):
    """Decoded examples of one split, by position. Made for reading in stored order: one file is open at a time.

    Reading raises StoreError, which names the file, where a record does not match its checksum, cannot be decoded, or
    where a file is missing, cut off, or has another number of records than the dataset says.

    Args:
      directory: folder with `dataset_info.json`, as `find_tfds_dataset` returns.
      split: name of the split, or a slice of it such as `train[:50000]`.
      raw: features to leave undecoded (encoded images stay bytes).
      required: features that the examples must have.

    Raises:
      StoreError: the dataset's description is damaged, or it has no such split or feature.
    """

    def __init__(self, directory: Path, split: str, *, raw: Iterable[str] = (), required: Iterable[str] = ()) -> None:
        tfds = _import_tfds()
        try:
            info = tfds.builder_from_directory(str(directory)).info
            splits = {str(name) for name in info.splits}
        except Exception as error:  # whatever TFDS, JSON or protocol buffers make of a damaged file
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise StoreError(f"{directory}: dataset_info.json or features.json is damaged ({reason})") from error
        if split.split("[")[0] not in splits:
            raise StoreError(f"{directory} has no split {split!r}; it has {', '.join(sorted(splits))}")
        if missing := sorted({*required} - {*info.features}):
            raise StoreError(
                f"{directory} has no feature {', '.join(missing)}; it has {', '.join(sorted(info.features))}"
            )
        self._features = info.features
        self._decoders = {feature: tfds.decode.SkipDecoding() for feature in raw} or None
        self._files = info.splits[split].file_instructions
        self._starts = list(itertools.accumulate((file.take for file in self._files), initial=0))
        self._open: tuple[Any, RecordFile] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, position: Any) -> Any:
        position = operator.index(position)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(f"example {position} of {len(self)}")
        number = bisect.bisect_right(self._starts, position) - 1
        row = position - self._starts[number]
        return next(self._read(self._files[number], row, row + 1))[1]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the examples in stored order."""
        return (example for _, example in self.located())

    def located(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields, in stored order, where an example lies (for messages), and the example."""
        for file in self._files:
            for start in range(0, file.take, _READ_RECORDS):
                yield from self._read(file, start, min(start + _READ_RECORDS, file.take))

    def _read(self, file: Any, start: int, stop: int) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._open is None or self._open[0] is not file:
            self._open = None  # closes the file before
            self._open = file, open_records(Path(file.filename), file.examples_in_shard)
        first = file.skip + start
        for number, record in enumerate(self._open[1].read(first, file.skip + stop), first):
            where = f"{file.filename}, record {number}"
            try:
                example = self._features.deserialize_example_np(record, decoders=self._decoders)
            except Exception as error:  # decoders of all kinds
                raise StoreError(f"{where} cannot be decoded ({error!r}); fetch it again") from error
            yield where, example


def labelled_images(directory: Path, split: str, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images uint8 [n, height, width, channels] and labels int64 [n] of a split with such features.

    Raises:
      StoreError: as `TfdsSplit`, or an image has another shape than the first, or a label is not a class.
    """
    images: list[np.ndarray] = []
    labels: list[int] = []
    for where, example in TfdsSplit(directory, split, required=("image", "label")).located():
        image, label = example["image"], int(example["label"])
        if images and image.shape != images[0].shape:
            raise StoreError(f"{where}: image of shape {image.shape}, the first has {images[0].shape}")
        if not 0 <= label < num_classes:
            raise StoreError(f"{where}: label {label}, expected 0 to {num_classes - 1}")
        images.append(image)
        labels.append(label)
    return np.stack(images), np.array(labels)


def write_tfds_dataset(
    directory: Path,
    name: str,
    version: str,
    features: Callable[[Any], Mapping[str, Any]],
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    config: str | None = None,
    file_format: str = ARRAY_RECORD,
    num_shards: int = 1,
) -> Path:
    """Writes examples in the TFDS layout; for minis and test fixtures.

    Args:
      directory: the TFDS data directory.
      name, version: of the dataset, for example `mnist` and `3.0.1`.
      features: given the module `tensorflow_datasets.features`, returns the feature of each key of an example, or
        one feature that is made of several, such as `Translation`.
      splits: examples of each split, stored in this order. An image is a uint8 array [height, width, channels]
        (stored as PNG) or the bytes of an encoded file.
      config: name of a builder config, where the real dataset has one.
      file_format: `array_record` or `tfrecord`.
      num_shards: files of each split; with several, all examples of a split are held in memory.

    Returns:
      The folder `directory / name [/ config] / version`.
    """
    tfds = _import_tfds()
    given = features(tfds.features)
    described = given if isinstance(given, tfds.features.FeaturesDict) else tfds.features.FeaturesDict(given)
    folder = directory / name / config / version if config else directory / name / version
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=str(folder), module_name=__name__, config_name=config
    )
    kind = tfds.core.file_adapters.FileFormat.from_value(file_format)
    infos = []
    folder.mkdir(parents=True, exist_ok=True)
    for split, examples in splits.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=name, split=split, filetype_suffix=kind.file_suffix
        )
        infos.append(_write_split(tfds, template, described, _shards(examples, num_shards)))
    info = tfds.core.DatasetInfo(builder=identity, features=described, disable_shuffling=True)
    info.set_file_format(kind)
    info.set_splits(tfds.core.splits.SplitDict(infos))
    info.write_to_directory(str(folder))
    return folder


def _shards(examples: Iterable[Mapping[str, Any]], num_shards: int) -> list[Iterable[Mapping[str, Any]]]:
    """Consecutive parts of about equal size."""
    if num_shards == 1:
        return [examples]
    rows = list(examples)
    bounds = [number * len(rows) // num_shards for number in range(num_shards + 1)]
    return [rows[start:stop] for start, stop in itertools.pairwise(bounds)]


def _write_split(tfds: Any, template: Any, features: Any, shards: list[Iterable[Mapping[str, Any]]]) -> Any:
    lengths: list[int] = []
    num_bytes = 0

    def serialised(examples: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
        nonlocal num_bytes
        for example in examples:
            encoded = {key: _without_tensorflow(tfds, features[key], value) for key, value in example.items()}
            record = features.serialize_example(features.encode_example(encoded))
            lengths[-1] += 1
            num_bytes += len(record)
            yield record

    for number, examples in enumerate(shards):
        lengths.append(0)
        path = Path(template.sharded_filepath(shard_index=number, num_shards=len(shards)))
        write_records(path, serialised(examples))
    return tfds.core.SplitInfo(
        name=template.split, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
    )


def _without_tensorflow(tfds: Any, feature: Any, value: Any) -> Any:
    """Encodes images (arrays or the bytes of a file) ahead of TFDS, whose own encoder is TensorFlow's."""
    if not isinstance(feature, tfds.features.Image):
        return value
    if isinstance(value, bytes):
        return io.BytesIO(value)
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(value[..., 0] if value.shape[-1] == 1 else value).save(file, "PNG")
    file.seek(0)
    return file


def _import_tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(f"preparing this dataset needs TFDS ({error}); pip install 'algoperf[data]'") from error
    return tensorflow_datasets
