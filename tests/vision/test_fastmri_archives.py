"""fastMRI's archives give the store of the folders that they unpack to."""

import io
import shutil
import tarfile

import pytest
from test_fastmri_data import definition, prepared, write_volumes

from algoperf.data import StoreError
from algoperf.prepared_data import data_digest
from workloads.fastmri import archives
from workloads.fastmri.prepare import TRAIN_FOLDER, VALIDATION_FOLDER
from workloads.fastmri.sources import SOURCES

__all__ = ["definition"]


def pack(volumes, root, *, suffix=".tar.xz", kind="w:xz"):
    """Archives as they are published: their folders lack the `knee_`, and volumes are in no order."""
    root.mkdir()
    for name in (TRAIN_FOLDER, VALIDATION_FOLDER):
        with tarfile.open(root / f"{name}{suffix}", kind) as archive:
            for path in sorted((volumes / name).iterdir(), key=lambda path: path.stat().st_size):
                archive.add(path, f"{name.removeprefix('knee_')}/{path.name}")
            info = tarfile.TarInfo("README")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"hi"))
    return root


@pytest.mark.parametrize(("suffix", "kind"), [(".tar.xz", "w:xz"), (".tar", "w"), (".tar.gz", "w:gz")])
def test_archives_give_what_folders_give_and_stay(definition, tmp_path, suffix, kind):
    volumes = write_volumes(tmp_path / "volumes")
    packed = pack(volumes, tmp_path / "packed", suffix=suffix, kind=kind)
    before = {path.name: path.read_bytes() for path in packed.iterdir()}
    digests = []
    for number, source_dir in enumerate((volumes, packed)):
        prepared(definition, source_dir, tmp_path / str(number))
        digests.append(data_digest(definition, tmp_path / str(number)))
    assert digests[0] == digests[1]
    assert {path.name: path.read_bytes() for path in packed.iterdir()} == before


def test_an_interrupted_unpacking_resumes(definition, tmp_path, monkeypatch):
    packed = pack(write_volumes(tmp_path / "volumes"), tmp_path / "packed")
    copy = shutil.copyfileobj
    written = []

    def full_disk_at_the_third(source, target):
        if len(written) == 2:
            target.write(source.read(100))
            raise OSError(28, "No space left on device")
        written.append(target.name)
        copy(source, target)

    monkeypatch.setattr(archives.shutil, "copyfileobj", full_disk_at_the_third)
    with pytest.raises(OSError, match="No space left"):
        prepared(definition, packed, tmp_path)
    assert len(list(tmp_path.rglob("unpacked/*/*.h5"))) == 2
    monkeypatch.setattr(
        archives.shutil, "copyfileobj", lambda source, target: (written.append(0), copy(source, target))
    )
    written.clear()
    prepared(definition, packed, tmp_path)
    assert len(written) == 4, "the two that were whole are not written again"
    assert list(tmp_path.rglob("*.partial")) == []


@pytest.mark.parametrize("content", [b"<html>", "cut", "empty"])
def test_a_damaged_archive_is_named_in_one_line(definition, tmp_path, content):
    packed = pack(write_volumes(tmp_path / "volumes"), tmp_path / "packed")
    broken = packed / f"{TRAIN_FOLDER}.tar.xz"
    if content == "empty":
        with tarfile.open(broken, "w:xz"):
            pass
    else:
        broken.write_bytes(broken.read_bytes()[:-5000] if content == "cut" else content)
    with pytest.raises(StoreError, match=r"knee_singlecoil_train\.tar\.xz") as error:
        prepared(definition, packed, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "prepared/fastmri").exists()


def test_what_is_downloaded_is_what_is_read():
    names = [file.name for file in SOURCES[0].files]
    assert names == [f"{name}.tar.xz" for name in (TRAIN_FOLDER, VALIDATION_FOLDER)]
