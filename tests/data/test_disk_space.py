"""Sizes that a person can read, and what already lies on the disk."""

import pytest

from algoperf.data.disk_space import DiskSpaceError, format_bytes, require_free_bytes, written_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.00 kB"),
        (9_999, "10.0 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_500_000_000, "1.50 GB"),
        (146_400_000_000, "146 GB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(count, text):
    assert format_bytes(count) == text


def test_written_bytes_count_whole_folders_once_and_follow_no_links(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"12345")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b")
    assert written_bytes([tmp_path / "a", tmp_path / "missing"]) == 5


def test_too_little_space_says_how_much_is_missing(tmp_path):
    require_free_bytes(tmp_path, 1, task="a test", remedy="nothing")
    with pytest.raises(DiskSpaceError, match=r"^a test needs 1\.13 PB more, .* has [\d.]+ .B free; buy a disk$"):
        require_free_bytes(tmp_path, 2**50, task="a test", remedy="buy a disk")
