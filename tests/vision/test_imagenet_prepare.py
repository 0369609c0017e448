import dataclasses
import weakref
from pathlib import Path

import numpy as np
import pytest
from imagenet_files import NUM_CLASSES, definition, encoded, write_class_folders

from algoperf.data import BatchRequest, StoreError
from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import Split
from algoperf.prepared_data import verify_dataset
from workloads.common.imagenet import prepare as preparation
from workloads.common.imagenet.images import EncodedImages
from workloads.common.imagenet.prepare import checked_jpeg, prepare
from workloads.common.imagenet.raw import RawDataError, RawImage, read_split
from workloads.common.imagenet.source import open_split


def prepared(source_dir: Path, data_dir: Path, **data: object):
    messages: list[str] = []
    prepare(definition(**data), data_dir, source_dir=source_dir, num_workers=2, report=messages.append)
    return messages


def test_class_folders_become_a_store(tmp_path: Path) -> None:
    source_dir = write_class_folders(tmp_path / "raw")
    messages = prepared(source_dir, tmp_path)
    assert any("18 of 18" in message for message in messages)
    assert verify_dataset(definition(), tmp_path) == 4
    source = open_split(definition(), Split.VALIDATION, tmp_path)
    batch = source.read(BatchRequest(indices=np.arange(9), batch_size=16))
    np.testing.assert_array_equal(batch["targets"][:9], np.repeat(np.arange(3), 3))
    assert batch["weights"].sum() == 9
    assert batch["inputs"].shape == (16, 24, 24, 3)


def tfds_examples(source_dir: Path, split: Split) -> list[dict]:
    images = read_split(source_dir, split, NUM_CLASSES)
    return [{"image": raw.encoded, "label": raw.label, "file_name": Path(raw.name).name} for raw in images]


def write_tfds(folders: Path, target: Path, **form: object) -> Path:
    def features(tfds_features):
        return {
            "image": tfds_features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "label": tfds_features.ClassLabel(num_classes=NUM_CLASSES),
            "file_name": tfds_features.Text(),
        }

    splits = {name: tfds_examples(folders, name) for name in (Split.TRAIN, Split.VALIDATION)}
    named = {str(name): rows for name, rows in splits.items()}
    write_tfds_dataset(target, "imagenet2012", "5.1.0", features, named, **form)
    test = {"test": tfds_examples(folders, Split.TEST)}
    write_tfds_dataset(target, "imagenet_v2", "3.0.0", features, test, config="matched-frequency", **form)
    return target


@pytest.mark.parametrize("form", [{"file_format": "array_record"}, {"file_format": "tfrecord", "num_shards": 4}])
def test_tfds_folders_give_the_same_store_as_class_folders(tmp_path: Path, form: dict) -> None:
    folders = write_class_folders(tmp_path / "folders")
    tfds_dir = write_tfds(folders, tmp_path / "tfds", **form)
    prepared(folders, tmp_path / "a")
    prepared(tfds_dir, tmp_path / "b")
    for split in (Split.TRAIN, Split.TEST):
        batches = [
            open_split(definition(), split, tmp_path / name).read(BatchRequest(indices=np.arange(6), batch_size=6))
            for name in "ab"
        ]
        for leaf in batches[0]:
            np.testing.assert_array_equal(batches[0][leaf], batches[1][leaf])


@pytest.mark.parametrize(("mode", "file_format"), [("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG")])
def test_other_forms_become_rgb_jpeg(mode: str, file_format: str) -> None:
    converted = checked_jpeg(
        RawImage(name="image.JPEG", label=0, encoded=encoded(1, mode=mode, file_format=file_format))
    )
    assert converted[:2] == b"\xff\xd8"
    pixels = preparation.decode(np.frombuffer(converted, np.uint8))
    plain = preparation.decode(np.frombuffer(encoded(1), np.uint8))
    assert pixels.shape == plain.shape
    if mode != "L":
        assert np.abs(pixels.astype(int) - plain).mean() < 6


def test_rgb_and_grey_jpeg_are_kept_as_they_are() -> None:
    for mode in ("RGB", "L"):
        original = encoded(2, mode=mode)
        assert checked_jpeg(RawImage(name="x", label=0, encoded=original)) == original
    grey = preparation.decode(np.frombuffer(encoded(2, mode="L"), np.uint8))
    assert grey.shape == (45, 60, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_image_is_named(tmp_path: Path, damage: str) -> None:
    source_dir = write_class_folders(tmp_path / "raw")
    victim = source_dir / "train/n00000001/image_3.JPEG"
    content = victim.read_bytes()
    victim.write_bytes({"truncated": content[: len(content) // 2], "text": b"<html>404</html>", "empty": b""}[damage])
    with pytest.raises(RawDataError, match=r"n00000001/image_3\.JPEG is no readable image"):
        prepared(source_dir, tmp_path)
    assert not (tmp_path / "prepared" / "imagenet" / "store.json").exists()


def test_missing_folders_are_named(tmp_path: Path) -> None:
    source_dir = write_class_folders(tmp_path / "raw")
    (source_dir / "train/n00000001").rename(tmp_path / "elsewhere")
    with pytest.raises(RawDataError, match="should have 3 class folders, found 2"):
        prepared(source_dir, tmp_path)
    (source_dir / "train/n00000001").mkdir()
    with pytest.raises(RawDataError, match="n00000001 has no image"):
        prepared(source_dir, tmp_path)
    (source_dir / "train").rename(tmp_path / "train")
    with pytest.raises(RawDataError, match=r"no train images under .*imagenet2012"):
        prepared(source_dir, tmp_path)


def test_a_wrong_number_of_images_is_an_error(tmp_path: Path) -> None:
    source_dir = write_class_folders(tmp_path / "raw")
    (source_dir / "val/n00000000/image_0.JPEG").unlink()
    with pytest.raises(RawDataError, match="split validation should have 9 images, found 8"):
        prepared(source_dir, tmp_path)


def test_an_interrupted_preparation_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "IMAGES_PER_PART", 5)
    source_dir = write_class_folders(tmp_path / "raw")
    victim = source_dir / "val/n00000002/image_2.JPEG"
    content = victim.read_bytes()
    victim.write_bytes(b"broken")
    with pytest.raises(RawDataError):
        prepared(source_dir, tmp_path)
    finished = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "prepared" / "imagenet.parts").glob("*/bytes.npy")
    }
    assert len(finished) == 5  # four of training, one of validation
    victim.write_bytes(content)
    prepared(source_dir, tmp_path)
    for path, modified in finished.items():
        assert (tmp_path / "prepared" / "imagenet" / path.parent.name / path.name).stat().st_mtime_ns == modified
    assert not (tmp_path / "prepared" / "imagenet.parts").exists()
    images = EncodedImages(tmp_path / "prepared" / "imagenet", "train", 5)
    expected = [raw.encoded for raw in read_split(source_dir, Split.TRAIN, NUM_CLASSES)]
    for index in (0, 4, 5, 17):
        pixels = preparation.decode(np.frombuffer(expected[index], np.uint8))
        np.testing.assert_array_equal(images.image(index).decoded(), pixels)


def test_no_more_than_a_part_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "IMAGES_PER_PART", 4)
    alive: weakref.WeakSet[RawImage] = weakref.WeakSet()
    most = 0

    def watched(*arguments):
        nonlocal most
        for image in read_split(*arguments):
            alive.add(image)
            most = max(most, len(alive))
            yield image
            del image

    monkeypatch.setattr(preparation, "read_split", watched)
    prepared(write_class_folders(tmp_path / "raw"), tmp_path)
    assert len(open_split(definition(), Split.TRAIN, tmp_path)) == 18
    assert 4 <= most <= 2 * 4 + 1


def test_stored_files_can_be_decoded_in_part_and_keep_their_pixels(tmp_path: Path) -> None:
    source_dir = write_class_folders(tmp_path / "raw")
    prepared(source_dir, tmp_path)
    images = EncodedImages(tmp_path / "prepared" / "imagenet", "train", preparation.IMAGES_PER_PART)
    for index, raw in enumerate(read_split(source_dir, Split.TRAIN, NUM_CLASSES)):
        whole = preparation.decode(np.frombuffer(raw.encoded, np.uint8))
        part, top, left = images.image(index).decoded_around(np.array([40, 50, 4, 8]))
        assert (top, left) != (0, 0)
        np.testing.assert_array_equal(part[40 - top : 44 - top, 50 - left : 58 - left], whole[40:44, 50:58])


def test_a_file_whose_pixels_would_change_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    other = encoded(3)
    monkeypatch.setattr(preparation, "with_restart_intervals", lambda content: other)
    original = encoded(2)
    assert preparation.stored_jpeg(RawImage(name="x", label=0, encoded=original)) == original


def test_a_store_of_another_size_is_refused(tmp_path: Path) -> None:
    prepared(write_class_folders(tmp_path / "raw"), tmp_path)
    splits = dataclasses.replace(definition().splits, train=20)
    with pytest.raises(StoreError, match=r"has 18 train images, .* has 20"):
        open_split(dataclasses.replace(definition(), splits=splits), Split.TRAIN, tmp_path)
