"""Raw ImageNet to a prepared store; the mini's images come from a generator and go the same way.

The store of the real dataset has `<split>_labels` int32 [n]; its JPEG bytes are in parts (`algoperf.data.shards`),
each with `bytes` uint8 [total] and `offsets` int64 [n + 1]. The store of a mini (`decoded`) has `<split>_labels` and
`<split>_images` uint8 [n, side, side, 3].
"""

import functools
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from algoperf.data import StoreWriter
from algoperf.data.places import new_store_dir, raw_dir
from algoperf.data.shards import adopt_parts, write_part
from algoperf.definition import Split, WorkloadDefinition
from algoperf.reporting import Report
from workloads.common.imagenet import shapes
from workloads.common.imagenet.jpeg_crops import decode
from workloads.common.imagenet.raw import RawDataError, RawImage, read_split, split_root
from workloads.common.imagenet.restart_intervals import with_restart_intervals

STORED_SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
IMAGES_PER_PART = 1_024  # a part is held in memory while it is prepared: 110 MB
_REENCODING_QUALITY = 95


_T = TypeVar("_T")
_U = TypeVar("_U")


def prepare(
    definition: WorkloadDefinition, data_dir: Path, *, source_dir: Path | None, num_workers: int, report: Report
) -> None:
    """See `algoperf.data.source.PrepareModule`.

    Raises:
      StoreError: names the file or folder that is missing or damaged.
    """
    store_dir = new_store_dir(definition, data_dir)
    if definition.data.generator is not None:
        source_dir = raw_dir(definition, data_dir)
        shapes.write_raw(definition, source_dir, report)
    elif source_dir is None and find_raw(definition, data_dir) is None:
        raise RawDataError(f"no ImageNet under {data_dir}. {how_to_get(definition)}")
    source_dir = source_dir or data_dir
    if definition.data.decoded:
        _prepare_decoded(definition, source_dir, store_dir, num_workers, report)
    else:
        _prepare_encoded(definition, source_dir, store_dir, num_workers, report)


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""
    has_validation = split_root(folder, Split.VALIDATION) is not None  # other datasets have a folder `train` too
    return split_root(folder, Split.TRAIN) if has_validation else None


def how_to_get(definition: WorkloadDefinition) -> str:
    if definition.data.generator is not None:
        return f"{definition.name} is generated: python -m algoperf.prepare {definition.name} --data_dir=DIR"
    return (
        "ImageNet-2012 (ILSVRC2012_img_train.tar, 138 GB, and ILSVRC2012_img_val.tar, 6.3 GB) comes from "
        "https://image-net.org after registration; ImageNet-v2 (matched frequency, 1.2 GB) from "
        "https://github.com/modestyachts/ImageNetV2. With the links of your registration: python -m algoperf.prepare "
        f"{definition.name} --download --accept_licenses --imagenet_train_url=URL --imagenet_val_url=URL. "
        "Or put the archives, which stay packed, or TFDS folders (imagenet2012/5.1.0, "
        "imagenet_v2/matched-frequency/3.0.0), or class folders (train/<class>, val/<class>, "
        "imagenetv2-matched-frequency-format-val/<label>) into one directory and add --source_dir=THAT_DIRECTORY; with "
        "--download, what it lacks is downloaded. The prepared copy takes another 146 GB."
    )


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that preparation takes."""
    return 100_000_000 if definition.data.generator is not None else 150_000_000_000


def checked_jpeg(raw: RawImage) -> bytes:
    """Returns the bytes of a JPEG file with one or three colour components.

    Other forms (PNG, whatever the file is called, and CMYK) are converted to RGB JPEG. Raises RawDataError for bytes
    that cannot be decoded to the end.
    """
    try:
        with Image.open(io.BytesIO(raw.encoded)) as image:
            image.load()
            if image.format == "JPEG" and image.mode in ("L", "RGB"):
                return raw.encoded
            converted = io.BytesIO()
            image.convert("RGB").save(converted, "JPEG", quality=_REENCODING_QUALITY, subsampling=0)
            return converted.getvalue()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise RawDataError(f"{raw.name} is no readable image ({error}); download or extract it again") from error


def stored_jpeg(raw: RawImage) -> bytes:
    """As `checked_jpeg`, with restart markers, by which a crop is decoded at the cost of the crop.

    The decoder must give the same pixels; otherwise the file stays as it is.
    """
    encoded = checked_jpeg(raw)
    divided = with_restart_intervals(encoded)
    pixels, divided_pixels = (decode(np.frombuffer(content, np.uint8)) for content in (encoded, divided))
    return divided if np.array_equal(pixels, divided_pixels) else encoded


def _prepare_encoded(
    definition: WorkloadDefinition, source_dir: Path, store_dir: Path, num_workers: int, report: Report
) -> None:
    parts = []
    with StoreWriter(store_dir, {"source": str(source_dir), "images_per_part": IMAGES_PER_PART}) as writer:
        for split in STORED_SPLITS:
            images = read_split(source_dir, split, definition.data.num_classes)
            labels = writer.appender(f"{split}_labels", np.int32)
            for number, part in enumerate(_chunks(images, IMAGES_PER_PART)):
                meta = {"images": len(part), "first": part[0].name, "last": part[-1].name}
                write = functools.partial(_write_part, part, num_workers)
                parts.append(write_part(store_dir, split, number, meta, write))
                labels.append(np.array([image.label for image in part], np.int32))
                report(f"{split}: {labels.rows} of {definition.splits[split]} images")
            _check_count(split, labels.rows, definition)
        adopt_parts(writer, store_dir, parts)


def _write_part(part: list[RawImage], num_workers: int, writer: StoreWriter) -> None:
    encoded_bytes = writer.appender("bytes", np.uint8)
    ends = [0]
    for encoded in _in_threads(stored_jpeg, part, num_workers):
        encoded_bytes.append(np.frombuffer(encoded, np.uint8))
        ends.append(encoded_bytes.rows)
    writer.add("offsets", np.array(ends, np.int64))


def _prepare_decoded(
    definition: WorkloadDefinition, source_dir: Path, store_dir: Path, num_workers: int, report: Report
) -> None:
    side = definition.data.generator.side
    with StoreWriter(store_dir, {"source": str(source_dir)}) as writer:
        for split in STORED_SPLITS:
            labels = writer.appender(f"{split}_labels", np.int32)
            pixels = writer.appender(f"{split}_images", np.uint8, (side, side, 3))
            images = read_split(source_dir, split, definition.data.num_classes)
            for part in _chunks(images, IMAGES_PER_PART):
                labels.append(np.array([image.label for image in part], np.int32))
                pixels.append(np.stack(list(_in_threads(_checked_pixels, part, num_workers))))
            _check_count(split, labels.rows, definition)
            report(f"{split}: {labels.rows} images")


def _checked_pixels(raw: RawImage) -> np.ndarray:
    return decode(np.frombuffer(checked_jpeg(raw), np.uint8))


def _in_threads(function: Callable[[_T], _U], items: Iterable[_T], num_workers: int) -> Iterator[_U]:
    """Maps in order. Threads suffice: decoders release the interpreter lock."""
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        yield from pool.map(function, items)


def _chunks(images: Iterator[RawImage], size: int) -> Iterator[list[RawImage]]:
    while chunk := list(itertools.islice(images, size)):
        yield chunk


def _check_count(split: Split, actual: int, definition: WorkloadDefinition) -> None:
    expected = definition.splits[split]
    if actual != expected:
        raise RawDataError(f"{definition.dataset}: split {split} should have {expected} images, found {actual}")
