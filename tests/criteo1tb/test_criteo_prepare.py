"""Day files in every form become the same rows; what was done is not done again; faults name the file."""

import collections
import dataclasses
import gzip
import os
import shutil

import numpy as np
import pytest

from algoperf.data import BatchRequest, Store, StoreError, is_complete
from algoperf.data.disk_space import DiskSpaceError, written_bytes
from algoperf.definition import Split
from algoperf.prepare import prepare_dataset
from algoperf.prepared_data import verify_dataset
from workloads.criteo1tb import prepare
from workloads.criteo1tb.data import open_split
from workloads.criteo1tb.definition import CRITEO1TB


def quiet(message):
    pass


@pytest.fixture
def real(tiny_definition):
    """The definition of a real dataset of the tiny size."""
    return dataclasses.replace(
        CRITEO1TB,
        splits=tiny_definition.splits,
        data=dataclasses.replace(tiny_definition.data, click_seed=None),
        eval_batch_size=tiny_definition.eval_batch_size,
    )


@pytest.fixture
def days(clicks_dir):
    raw = clicks_dir / "prepared" / "criteo1tb_mini_raw"
    return [gzip.decompress((raw / f"day_{day}.gz").read_bytes()) for day in range(3)]


def write_plain(folder, days):
    folder.mkdir()
    for number, text in enumerate(days):
        (folder / f"day_{number}").write_bytes(text)


def rows_of(definition, data_dir, split):
    source = open_split(definition, split, data_dir)
    return source.read(BatchRequest(indices=np.arange(len(source)), batch_size=len(source)))


@pytest.mark.parametrize("form", ["plain", "pieces", "pieces_gz", "no_last_newline"])
def test_every_form_of_the_files_gives_the_same_rows(tmp_path, real, days, clicks_dir, tiny_definition, form):
    raw = tmp_path / "raw"
    if form in ("plain", "no_last_newline"):
        write_plain(raw, [text.rstrip(b"\n") for text in days] if form == "no_last_newline" else days)
    else:
        raw.mkdir()
        for number, text in enumerate(days):
            lines = text.splitlines(keepends=True)
            for piece, start in enumerate(range(0, len(lines), 100)):
                content = b"".join(lines[start : start + 100])
                if form == "pieces":
                    (raw / f"day_{number}_{piece:02d}").write_bytes(content)
                else:
                    (raw / f"day_{number}_{piece:02d}.gz").write_bytes(gzip.compress(content))
    prepare.prepare(real, tmp_path, source_dir=raw, num_workers=2, report=quiet)
    for split in (Split.TRAIN, Split.EVAL_TRAIN, Split.VALIDATION, Split.TEST):
        found, expected = rows_of(real, tmp_path, split), rows_of(tiny_definition, clicks_dir, split)
        for name in ("inputs", "targets", "weights"):
            np.testing.assert_array_equal(found[name], expected[name])
    verify_dataset(real, tmp_path)


@pytest.mark.parametrize("block_bytes", [1, 7, 300, 1 << 20])
def test_blocks_hold_whole_lines(tmp_path, days, block_bytes):
    path = tmp_path / "day_0"
    path.write_bytes(days[0][:3000].rsplit(b"\n", 1)[0] + b"\nlast")
    blocks = [block.tobytes() for block in prepare.read_lines(path, block_bytes)]
    assert b"".join(blocks) == path.read_bytes() + b"\n"
    assert all(block.endswith(b"\n") for block in blocks)


def test_prepared_files_are_not_read_again_and_changed_ones_are(tmp_path, real, days):
    raw = tmp_path / "raw"
    write_plain(raw, days)
    good = days[1]
    (raw / "day_1").write_bytes(good + b"broken")
    with pytest.raises(prepare.BadLineError):
        prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=quiet)
    assert not is_complete(tmp_path / "prepared" / "criteo1tb")
    before = os.stat(tmp_path / "prepared" / "criteo1tb.parts" / "day_0" / "store.json").st_mtime_ns
    (raw / "day_1").write_bytes(good)
    messages = []
    prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=messages.append)
    assert is_complete(tmp_path / "prepared" / "criteo1tb")
    assert os.stat(tmp_path / "prepared" / "criteo1tb" / "day_0" / "store.json").st_mtime_ns == before
    assert not (tmp_path / "prepared" / "criteo1tb.parts").exists()
    assert any("day_0" in message and "prepared before" in message for message in messages)
    assert any("day_1" in message and "rows/s" in message for message in messages)


def test_parts_of_an_interrupted_assembly_are_kept(tmp_path, real, days):
    raw = tmp_path / "raw"
    write_plain(raw, days)
    prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=quiet)
    (tmp_path / "prepared" / "criteo1tb" / "store.json").unlink()
    (tmp_path / "prepared" / "criteo1tb").rename(tmp_path / "prepared" / "criteo1tb.partial")
    messages = []
    prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=messages.append)
    assert sum("prepared before" in message for message in messages) == 3
    verify_dataset(real, tmp_path)


class LimitedDisk:
    """A disk that holds `capacity` bytes of the data directory; notes how full it was at each report."""

    def __init__(self, monkeypatch, data_dir, capacity):
        self.data_dir, self.capacity, self.peak, self.reports = data_dir, capacity, 0, 0
        usage = collections.namedtuple("usage", "free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(capacity - self.used()))

    def used(self):
        return written_bytes([self.data_dir / "prepared"])

    def report(self, message):
        self.peak, self.reports = max(self.peak, self.used()), self.reports + 1

    def interrupt(self, message):
        self.report(message)
        if self.reports == 3:
            raise KeyboardInterrupt


def test_an_interrupted_preparation_resumes_on_a_disk_that_holds_one_store(tmp_path, real, days, monkeypatch):
    raw, data_dir = tmp_path / "raw", tmp_path / "data"
    write_plain(raw, days)
    headers = 20_000  # of the arrays and manifests of three parts
    disk = LimitedDisk(monkeypatch, data_dir, int(1.1 * prepare.required_bytes(real)) + headers)
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(real, data_dir, source_dir=raw, num_workers=1, report=disk.interrupt)
    assert disk.used() > 0.5 * prepare.required_bytes(real)
    prepare_dataset(real, data_dir, source_dir=raw, num_workers=1, report=disk.report)
    verify_dataset(real, data_dir)
    assert disk.peak < disk.capacity

    full = LimitedDisk(monkeypatch, tmp_path / "other", prepare.required_bytes(real) // 2)
    with pytest.raises(DiskSpaceError, match=r"^preparing criteo1tb needs 1\d\d kB more, .* has \d\d\.\d kB free"):
        prepare_dataset(real, tmp_path / "other", source_dir=raw, num_workers=1, report=full.report)


def test_a_bad_line_names_file_line_and_field(tmp_path, real, days):
    raw = tmp_path / "raw"
    lines = days[1].splitlines(keepends=True)
    lines[211] = b"0\t1\t2\n"
    write_plain(raw, [days[0], b"".join(lines), days[2]])
    with pytest.raises(
        prepare.BadLineError, match=r"day_1, line 212, field 3: the line ends here, expected 40 .* got '2'"
    ):
        prepare.prepare(real, tmp_path, source_dir=raw, num_workers=2, report=quiet)


def test_missing_days_are_named(tmp_path, real, days):
    raw = tmp_path / "raw"
    write_plain(raw, days)
    (raw / "day_1").unlink()
    with pytest.raises(StoreError, match=r"lacks day_1; expected day_0 ... day_2"):
        prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=quiet)


@pytest.mark.parametrize(
    "names", [["day_0", "day_0.gz"], ["day_0", "day_0_00"], ["day_0_00", "day_0_02"], ["day_0_01"]]
)
def test_days_twice_or_with_gaps_are_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(StoreError, match="day 0 must be one whole file or all pieces"):
        prepare.find_files(tmp_path, 1)


def test_pieces_are_in_numeric_order(tmp_path):
    for piece in range(101):
        (tmp_path / f"day_0_{piece:02d}").write_bytes(b"")
    (tmp_path / "day_7_00").write_bytes(b"")  # beyond the last day
    assert [file.piece for file in prepare.find_files(tmp_path, 1)] == list(range(101))


def test_a_cut_off_gzip_file_is_named(tmp_path, real, days):
    raw = tmp_path / "raw"
    write_plain(raw, days)
    (raw / "day_2").unlink()
    (raw / "day_2.gz").write_bytes(gzip.compress(days[2])[:-2000])
    with pytest.raises(StoreError, match=r"day_2.gz cannot be read to its end"):
        prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=quiet)


def test_a_damaged_gzip_file_is_named(tmp_path, days):
    content = bytearray(gzip.compress(days[2]))
    content[200:240] = bytes(40)
    (tmp_path / "day_0.gz").write_bytes(content)
    with pytest.raises(StoreError, match=r"day_0.gz is damaged"):
        list(prepare.read_lines(tmp_path / "day_0.gz"))


@pytest.mark.parametrize("block_bytes", [5, 1000, 1 << 20])
def test_gzip_files_may_follow_each_other_in_one_file(tmp_path, days, block_bytes):
    (tmp_path / "day_0.gz").write_bytes(gzip.compress(days[0]) + gzip.compress(days[1]))
    blocks = [block.tobytes() for block in prepare.read_lines(tmp_path / "day_0.gz", block_bytes)]
    assert b"".join(blocks) == days[0] + days[1]


def test_too_few_rows_are_an_error(tmp_path, real, days):
    raw = tmp_path / "raw"
    write_plain(raw, [days[0], days[1].split(b"\n", 1)[1], days[2]])
    with pytest.raises(StoreError, match=r"day_0 ... day_1 have 699 rows, expected 700"):
        prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=quiet)


def test_damage_is_found_by_checksum(tmp_path, real, days):
    raw = tmp_path / "raw"
    write_plain(raw, days)
    prepare.prepare(real, tmp_path, source_dir=raw, num_workers=1, report=quiet)
    ids = tmp_path / "prepared" / "criteo1tb" / "day_1" / "ids.npy"
    content = bytearray(ids.read_bytes())
    content[100] ^= 1
    ids.write_bytes(content)
    with pytest.raises(StoreError, match=r"day_1.*ids"):
        verify_dataset(real, tmp_path)
    assert len(Store(tmp_path / "prepared" / "criteo1tb" / "day_0")["labels"]) == 350


def test_without_a_source_the_error_tells_how_to_get_it(tmp_path, real):
    with pytest.raises(StoreError, match=r"day_0.gz ... day_23.gz"):
        prepare.prepare(real, tmp_path, source_dir=None, num_workers=1, report=quiet)


def test_a_file_without_lines_is_named(tmp_path):
    (tmp_path / "day_0").write_bytes(b"0\t1" * 50_000)
    with pytest.raises(StoreError, match=r"day_0 is no click log: it has a line of more than \d+ bytes"):
        list(prepare.read_lines(tmp_path / "day_0", 10_000))
