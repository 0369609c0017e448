"""Raw ImageNet in any of the forms in which people have it: TFDS folders, class folders of image files, or archives.

| split | TFDS folder | class folders | archive |
|---|---|---|---|
| train | `imagenet2012/<version>` | `train/<class>/*` | `ILSVRC2012_img_train.tar` |
| validation | `imagenet2012/<version>` | `val/<class>/*` | `ILSVRC2012_img_val.tar` |
| test | `imagenet_v2/matched-frequency/<version>` | `imagenetv2-matched-frequency-format-val/<label>/*` | `.tar.gz` |

TFDS files may be ArrayRecord or TFRecord. Each split is looked for in the folder given and at the places below it where
AlgoPerf's setup puts it (`imagenet/jax`, `imagenet/pytorch`). Labels of class folders are positions in their sorted
names (in numeric order where the names are numbers), which for ImageNet equals TFDS' labels.
"""

from collections.abc import Iterator
from pathlib import Path

from algoperf.data.places import first_folder
from algoperf.data.tfds_source import TfdsSplit
from algoperf.definition import Split
from workloads.common.imagenet.archives import ARCHIVES, archive_path, read_archive
from workloads.common.imagenet.raw_image import IMAGE_SUFFIXES, RawDataError, RawImage

__all__ = ["IMAGE_SUFFIXES", "RawDataError", "RawImage", "read_split", "split_root"]

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
_BELOW = ("imagenet/jax", "imagenet/pytorch", "imagenet", "jax", "pytorch")


def split_root(source_dir: Path, split: Split) -> Path | None:
    """The folder at or below `source_dir` in which the images of `split` lie; None: they are not there."""

    def holds(root: Path) -> bool:
        has_folder = _latest_version(root / _TFDS[split][0]) is not None or (root / _FOLDERS[split]).is_dir()
        return has_folder or archive_path(root, split) is not None

    return first_folder(source_dir, _BELOW, holds)


def read_split(source_dir: Path, split: Split, num_classes: int) -> Iterator[RawImage]:
    """Yields the images of `split` in a fixed order; raises RawDataError that names what is missing or damaged."""
    dataset, tfds_split = _TFDS[split]
    root = split_root(source_dir, split)
    if root is None:
        raise RawDataError(
            f"no {split} images under {source_dir}: expected the TFDS folder {dataset}/<version>, "
            f"the class folders {_FOLDERS[split]}/<class>, or the archive {ARCHIVES[split]}"
        )
    tfds_folder = _latest_version(root / dataset)
    archive = archive_path(root, split)
    if tfds_folder is not None:
        yield from _read_tfds(tfds_folder, tfds_split, num_classes)
    elif archive is not None and not (root / _FOLDERS[split]).is_dir():
        yield from read_archive(archive, split, num_classes)
    else:
        yield from _read_class_folders(root / _FOLDERS[split], num_classes)


def _latest_version(folder: Path) -> Path | None:
    named = (path.parent for path in folder.glob("*/dataset_info.json"))
    versions = [path for path in named if path.name.replace(".", "").isdecimal()]
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def _read_tfds(folder: Path, split: str, num_classes: int) -> Iterator[RawImage]:
    for name, example in TfdsSplit(folder, split, raw=["image"], required=["image", "label"]).located():
        if not 0 <= int(example["label"]) < num_classes:
            raise RawDataError(f"{name}: label {int(example['label'])}, expected 0 to {num_classes - 1}")
        yield RawImage(name=name, label=int(example["label"]), encoded=bytes(example["image"]))


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
