"""ImageNet's archives, read where they are: the images of the class folders that they unpack to, in the same order.

The validation archive has no class folders. Its labels, `validation_labels.npz`, are the ground truth of ILSVRC 2012 as
positions in the sorted class names: int16 [50000], in the order of the numbers in the file names.
"""

import re
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from algoperf.definition import Split
from workloads.common.imagenet.raw_image import IMAGE_SUFFIXES, RawDataError, RawImage

ARCHIVES: Mapping[Split, str] = {
    Split.TRAIN: "ILSVRC2012_img_train.tar",
    Split.VALIDATION: "ILSVRC2012_img_val.tar",
    Split.TEST: "imagenetv2-matched-frequency.tar.gz",
}
_VALIDATION_LABELS = Path(__file__).with_name("validation_labels.npz")
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(?P<number>\d{8})\.JPEG")


def archive_path(folder: Path, split: Split) -> Path | None:
    """The archive of a split in `folder`; None: it is not there."""
    path = folder / ARCHIVES[split]
    return path if path.is_file() else None


def read_archive(path: Path, split: Split, num_classes: int) -> Iterator[RawImage]:
    """Yields the images of a split by label and then by name.

    Raises:
      RawDataError: the archive is damaged, or has other files than the published one; the message names it.
    """
    readers: Mapping[Split, Callable[[Path, int], Iterator[RawImage]]] = {
        Split.TRAIN: _read_train,
        Split.VALIDATION: _read_validation,
        Split.TEST: _read_labelled,
    }
    try:
        yield from readers[split](path, num_classes)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RawDataError(f"{path} cannot be read ({reason}); download it again") from error


def validation_labels() -> np.ndarray:
    """int16 [50000]."""
    with np.load(_VALIDATION_LABELS) as arrays:
        labels: np.ndarray = arrays["labels"]
    return labels


def _read_train(path: Path, num_classes: int) -> Iterator[RawImage]:
    """An archive of archives, one for each class."""
    with tarfile.open(path, "r:") as archive:
        classes = sorted((member for member in archive if member.name.endswith(".tar")), key=lambda each: each.name)
        _check_classes(path, range(len(classes)), num_classes)
        for label, member in enumerate(classes):
            with tarfile.open(fileobj=archive.extractfile(member), mode="r:") as images:
                for image in sorted(_images(images), key=lambda each: each.name):
                    yield _raw_image(path, images, image, label, f"{member.name}/{image.name}")


def _read_validation(path: Path, num_classes: int) -> Iterator[RawImage]:
    labels = validation_labels()
    with tarfile.open(path, "r:") as archive:
        numbered: list[tuple[int, str, tarfile.TarInfo]] = []
        for member in _images(archive):
            match = _VALIDATION_NAME.fullmatch(PurePosixPath(member.name).name)
            if match is None or not 1 <= int(match["number"]) <= len(labels):
                raise RawDataError(
                    f"{path} has the file {member.name}, expected ILSVRC2012_val_<1 to {len(labels)}>.JPEG"
                )
            numbered.append((int(labels[int(match["number"]) - 1]), member.name, member))
        _check_classes(path, {label for label, _, _ in numbered}, num_classes)
        for label, name, member in sorted(numbered, key=lambda each: each[:2]):
            yield _raw_image(path, archive, member, label, name)


def _read_labelled(path: Path, num_classes: int) -> Iterator[RawImage]:
    """A folder for each class, whose name is the label."""
    with tarfile.open(path, "r:*") as archive:

        def label_of(member: tarfile.TarInfo) -> int:
            folder = PurePosixPath(member.name).parent.name
            if not folder.isdecimal():
                raise RawDataError(f"{path} has the file {member.name}, expected it in a folder named after its label")
            return int(folder)

        members = sorted(_images(archive), key=lambda member: (label_of(member), member.name))
        _check_classes(path, set(map(label_of, members)), num_classes)
        for member in members:
            yield _raw_image(path, archive, member, label_of(member), member.name)


def _check_classes(path: Path, labels: Collection[int], num_classes: int) -> None:
    if {*labels} != {*range(num_classes)}:
        raise RawDataError(
            f"{path} should have images of {num_classes} classes, found {len(labels)}; it is incomplete or another "
            "archive"
        )


def _images(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (member for member in archive if member.isfile() and member.name.lower().endswith(IMAGE_SUFFIXES))


def _raw_image(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, label: int, name: str) -> RawImage:
    file = archive.extractfile(member)
    encoded = file.read() if file else b""
    if len(encoded) != member.size:
        raise RawDataError(f"{path} ends within {name}; download it again")
    return RawImage(name=f"{path}, {name}", label=label, encoded=encoded)
