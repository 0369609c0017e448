"""Datasets in the TFDS layout (ArrayRecord files), read and written without TensorFlow.

The import of `tensorflow_datasets` happens inside the functions: it takes seconds and only preparation needs it.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from algoperf.data.store import StoreError

_READ_RECORDS = 256


def find_tfds_dataset(source_dir: Path, name: str) -> Path:
    """Returns the folder of dataset `name` (`name/version` or `name/config/version`) with `dataset_info.json`.

    Looks in `source_dir / name`, `source_dir` and up to two levels below; of several versions takes the highest.

    Raises:
      StoreError: there is none, or its files are TFRecords (which only TensorFlow reads).
    """
    below_name = _with_info(source_dir / name)
    elsewhere = [path for path in _with_info(source_dir) if path == source_dir or name.split("/")[0] in path.parts]
    candidates = below_name or elsewhere
    if not candidates:
        raise StoreError(f"no TFDS dataset {name!r} under {source_dir} (no dataset_info.json found)")
    chosen = candidates[-1]
    if not list(chosen.glob("*.array_record*")):
        raise StoreError(
            f"{chosen} holds no ArrayRecord files; TFRecords can only be read with TensorFlow. Convert them with: "
            f"python -m tensorflow_datasets.scripts.convert_format --dataset_dir={chosen} "
            "--out_file_format=array_record --out_dir=NEW_FOLDER"
        )
    return chosen


def _with_info(root: Path) -> list[Path]:
    """Folders with a `dataset_info.json` at most two levels down (millions of files may lie below), oldest first."""
    folders = {path.parent for levels in ("", "*/", "*/*/") for path in root.glob(f"{levels}dataset_info.json")}
    return sorted(folders, key=_version_key)


def _version_key(path: Path) -> tuple[tuple[int, ...], str]:
    parts = path.name.split(".")
    return (tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (), str(path))


class TfdsSplit(Sequence[dict[str, Any]]):
    """Decoded examples of one split, by position.

    Args:
      directory: folder with `dataset_info.json`, as `find_tfds_dataset` returns.
      split: name of the split, or a slice of it such as `train[:50000]`.
      raw: features to leave undecoded (encoded images stay bytes).
    """

    def __init__(self, directory: Path, split: str, *, raw: Iterable[str] = ()) -> None:
        tfds = _import_tfds()
        builder = tfds.builder_from_directory(str(directory))
        decoders = {feature: tfds.decode.SkipDecoding() for feature in raw}
        self._source = builder.as_data_source(split=split, decoders=decoders or None)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, position: Any) -> Any:
        return self._source[position]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the examples in stored order, read in blocks."""
        for start in range(0, len(self), _READ_RECORDS):
            yield from self._source.__getitems__(range(start, min(start + _READ_RECORDS, len(self))))


def write_tfds_dataset(
    directory: Path,
    name: str,
    version: str,
    features: Callable[[Any], Mapping[str, Any]],
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    config: str | None = None,
) -> Path:
    """Writes examples in the TFDS layout with ArrayRecord files; for minis and test fixtures.

    Args:
      directory: the TFDS data directory.
      name, version: of the dataset, for example `mnist` and `3.0.1`.
      features: given the module `tensorflow_datasets.features`, returns the feature of each key of an example.
      splits: examples of each split, stored in this order, each in one file. An image is a uint8 array
        [height, width, channels] (stored as PNG) or the bytes of an encoded file.
      config: name of a builder config, where the real dataset has one.

    Returns:
      The folder `directory / name [/ config] / version`.
    """
    tfds = _import_tfds()
    described = tfds.features.FeaturesDict(features(tfds.features))
    folder = directory / name / config / version if config else directory / name / version
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=str(folder), module_name=__name__, config_name=config
    )
    file_format = tfds.core.file_adapters.FileFormat.ARRAY_RECORD
    infos = []
    folder.mkdir(parents=True, exist_ok=True)
    for split, examples in splits.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=name, split=split, filetype_suffix=file_format.file_suffix
        )
        infos.append(_write_split(tfds, template, split, described, examples))
    info = tfds.core.DatasetInfo(builder=identity, features=described, disable_shuffling=True)
    info.set_file_format(file_format)
    info.set_splits(tfds.core.splits.SplitDict(infos))
    info.write_to_directory(str(folder))
    return folder


def _write_split(tfds: Any, template: Any, split: str, features: Any, examples: Iterable[Mapping[str, Any]]) -> Any:
    from array_record.python.array_record_module import ArrayRecordWriter

    count = num_bytes = 0
    writer = ArrayRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1")
    for example in examples:
        encoded = {key: _without_tensorflow(tfds, features[key], value) for key, value in example.items()}
        record = features.serialize_example(features.encode_example(encoded))
        writer.write(record)
        count += 1
        num_bytes += len(record)
    writer.close()
    return tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=num_bytes, filename_template=template)


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
