"""Folders are removed only where this project wrote every file in them."""

import json

import pytest

from algoperf.ownership import GENERATED, ForeignFilesError, check_removable, generate_once, remove_folder


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def is_ours(name):
    return name.endswith(".ours")


def test_a_folder_of_our_files_goes_and_a_missing_one_is_fine(tmp_path):
    write(tmp_path / "a", "1.ours", "b/c/2.ours")
    remove_folder(tmp_path / "a", is_ours)
    remove_folder(tmp_path / "a", is_ours)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("foreign", ["notes.txt", "b/c/notes.txt"])
def test_one_foreign_file_keeps_everything(tmp_path, foreign):
    write(tmp_path / "a", "1.ours", "b/c/2.ours", foreign)
    before = contents(tmp_path)
    for refuses in (check_removable, remove_folder):
        with pytest.raises(ForeignFilesError, match=rf"a holds files .* this program: {foreign}; move them elsewhere"):
            refuses(tmp_path / "a", is_ours)
    assert contents(tmp_path) == before


def test_links_are_foreign_and_nothing_behind_them_is_touched(tmp_path):
    write(tmp_path / "elsewhere", "1.ours")
    write(tmp_path / "a", "2.ours")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFilesError, match="link"):
        remove_folder(tmp_path / "a", is_ours)
    (tmp_path / "a" / "link").rename(tmp_path / "a" / "link.ours")
    remove_folder(tmp_path / "a", is_ours)
    assert contents(tmp_path) == {"elsewhere/1.ours": b"1.ours"}


def test_a_link_to_a_folder_stays_and_our_files_behind_it_go(tmp_path):
    write(tmp_path / "elsewhere", "1.ours")
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    remove_folder(tmp_path / "a", is_ours)
    assert (tmp_path / "a").is_symlink()
    assert contents(tmp_path) == {}


def test_what_is_generated_once_is_not_generated_again(tmp_path):
    folder, calls = tmp_path / "raw", []

    def generate():
        calls.append(sorted(path.name for path in folder.iterdir()))
        write(folder, f"{len(calls)}", "deep/file")

    generate_once(folder, "first", generate)
    generate_once(folder, "first", generate)
    assert len(calls) == 1
    generate_once(folder, "second", generate)
    assert calls[1] == [GENERATED], "files of another generator are gone"
    (folder / "deep" / "file").unlink()
    generate_once(folder, "second", generate)
    assert len(calls) == 3, "a generated file is missing"


def test_an_interrupted_generation_starts_again(tmp_path):
    def interrupted():
        write(tmp_path / "raw", "half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_once(tmp_path / "raw", "x", interrupted)
    generate_once(tmp_path / "raw", "x", lambda: write(tmp_path / "raw", "whole"))
    assert sorted(contents(tmp_path / "raw")) == [GENERATED, "whole"]


@pytest.mark.parametrize("marker", [None, "[]", "{", json.dumps({"identity": "x"}), "finished"])
def test_nothing_is_generated_over_files_of_a_person(tmp_path, marker):
    folder = tmp_path / "raw"
    if marker == "finished":
        generate_once(folder, "x", lambda: write(folder, "ours"))
    write(folder, "train-images")
    if marker not in (None, "finished"):
        (folder / GENERATED).write_text(marker)
    before = contents(folder)
    with pytest.raises(ForeignFilesError, match="train-images"):
        generate_once(folder, "other", lambda: pytest.fail("generated"))
    assert contents(folder) == before
