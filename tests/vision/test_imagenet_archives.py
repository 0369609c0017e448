"""ImageNet's archives give the images of the class folders that they unpack to."""

import io
import shutil
import tarfile
from pathlib import Path

import imagenet_files
import numpy as np
import pytest
import tensorflow_datasets

from algoperf.data import Store
from algoperf.definition import Split
from algoperf.prepared_data import data_digest
from workloads.common.imagenet import archives
from workloads.common.imagenet.archives import ARCHIVES, validation_labels
from workloads.common.imagenet.prepare import prepare
from workloads.common.imagenet.raw import RawDataError, read_split
from workloads.common.imagenet.sources import SOURCES

LABELS = np.array([2, 0, 1, 1, 0, 2, 0, 2, 1], np.int16)
TEST_FOLDER = "imagenetv2-matched-frequency-format-val"


@pytest.fixture(autouse=True)
def few_labels(monkeypatch):
    monkeypatch.setattr(archives, "validation_labels", lambda: LABELS)


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_archives(folders: Path, root: Path, *, compressed: bool = True) -> Path:
    """The archives of class folders, their members out of order; the validation folders get the archive's names."""
    root.mkdir()
    rng = np.random.default_rng(0)
    with tarfile.open(root / ARCHIVES[Split.TRAIN], "w") as outer:
        for folder in rng.permutation(sorted((folders / "train").iterdir())):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for path in rng.permutation(sorted(folder.iterdir())):
                    add(archive, path.name, path.read_bytes())
            add(outer, f"{folder.name}.tar", inner.getvalue())
    by_label = {label: iter(sorted((folders / f"val/n0000000{label}").iterdir())) for label in range(3)}
    with tarfile.open(root / ARCHIVES[Split.VALIDATION], "w") as archive:
        for number, label in enumerate(LABELS, 1):
            path = next(by_label[label])
            path = path.rename(path.with_name(f"ILSVRC2012_val_{number:08d}.JPEG"))
            add(archive, path.name, path.read_bytes())
    with tarfile.open(root / ARCHIVES[Split.TEST], "w:gz" if compressed else "w") as archive:
        for path in rng.permutation(sorted((folders / TEST_FOLDER).glob("*/*"))):
            add(archive, str(path.relative_to(folders)), path.read_bytes())
    return root


@pytest.fixture
def folders(tmp_path):
    return imagenet_files.write_class_folders(tmp_path / "folders")


@pytest.mark.parametrize("compressed", [True, False])
def test_archives_give_what_class_folders_give(folders, tmp_path, compressed):
    packed = write_archives(folders, tmp_path / "packed", compressed=compressed)
    before = {path.name: path.read_bytes() for path in packed.iterdir()}
    for split in ARCHIVES:
        actual, expected = (
            [(image.label, image.encoded) for image in read_split(root, split, 3)] for root in (packed, folders)
        )
        assert actual == expected
    definition = imagenet_files.definition()
    digests = []
    for number, source_dir in enumerate((packed, folders)):
        options = {"source_dir": source_dir, "num_workers": 1, "report": lambda message: None}
        prepare(definition, tmp_path / str(number), **options)
        digests.append(data_digest(definition, tmp_path / str(number)))
    assert digests[0] == digests[1]
    assert len(Store(tmp_path / "0/prepared/imagenet")["train_labels"]) == 18
    assert {path.name: path.read_bytes() for path in packed.iterdir()} == before


def test_archives_and_folders_may_be_mixed(folders, tmp_path):
    packed = write_archives(folders, tmp_path / "packed")
    (packed / ARCHIVES[Split.TRAIN]).unlink()
    shutil.copytree(folders / "train", packed / "train")
    assert len(list(read_split(packed, Split.TRAIN, 3))) == 18
    assert len(list(read_split(packed, Split.VALIDATION, 3))) == 9


def test_the_labels_that_come_with_the_program_are_those_of_tfds(monkeypatch):
    folder = Path(tensorflow_datasets.__file__).parent / "datasets/imagenet2012"
    names = (folder / "labels.txt").read_text().split()
    assert names == sorted(names), "labels are positions in the sorted class names"
    expected = [names.index(name) for name in (folder / "validation_labels.txt").read_text().split()]
    assert validation_labels().tolist() == expected
    assert np.bincount(validation_labels()).tolist() == [50] * 1000


def test_what_is_downloaded_is_what_is_read():
    assert [file.name for file in SOURCES[0].files] == list(ARCHIVES.values())


def cut(path):
    path.write_bytes(path.read_bytes()[:-20_000])


def page(path):
    path.write_bytes(b"<html>")


def other_names(path):
    with tarfile.open(path, "w") as archive:
        add(archive, "x/photo.JPEG", b"image")


def too_few(path):
    with tarfile.open(path, "w") as archive:
        add(archive, "ILSVRC2012_val_00000001.JPEG", b"image")


@pytest.mark.parametrize(
    ("split", "damage", "message"),
    [
        (Split.TRAIN, cut, "cannot be read|ends within|classes"),
        (Split.TRAIN, page, "cannot be read"),
        (Split.TRAIN, other_names, "3 classes, found 0"),
        (Split.VALIDATION, other_names, "has the file x/photo.JPEG, expected ILSVRC2012_val_"),
        (Split.VALIDATION, too_few, "3 classes, found 1"),
        (Split.TEST, page, "cannot be read"),
        (Split.TEST, other_names, "named after its label"),
    ],
)
def test_a_damaged_archive_is_named_in_one_line(folders, tmp_path, split, damage, message):
    packed = write_archives(folders, tmp_path / "packed")
    damage(packed / ARCHIVES[split])
    with pytest.raises(RawDataError, match=message) as error:
        list(read_split(packed, split, 3))
    assert ARCHIVES[split] in str(error.value)
    assert "\n" not in str(error.value)
