"""Prepared stores: complete or absent, and damage is found."""

import json
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from algoperf.data import Store, StoreError, StoreWriter, check_labels, is_complete

dtypes = st.sampled_from([np.uint8, np.int32, np.int64, np.float32, np.float64, np.bool_])
some_arrays = dtypes.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=3, max_side=5)))
reuse_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, **contents):
    with StoreWriter(path, {"source": "test"}) as writer:
        for name, array in contents.items():
            writer.add(name, array)
    return path


@reuse_folder
@given(st.dictionaries(st.sampled_from("abc"), some_arrays, min_size=1))
def test_round_trip(tmp_path, contents):
    store = Store(write(tmp_path / "store", **contents))
    assert store.meta == {"source": "test"}
    assert set(store) == set(contents)
    for name, array in contents.items():
        assert store[name].dtype == array.dtype
        np.testing.assert_array_equal(store[name], array)
        if array.size:
            assert not store[name].flags.writeable
    store.verify()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
@reuse_folder
def test_appending_blocks_equals_adding_at_once(tmp_path, sizes):
    rows = np.arange(sum(sizes) * 3, dtype=np.int32).reshape(-1, 3)
    with StoreWriter(tmp_path / "store", {}) as writer:
        appender = writer.appender("rows", np.int32, (3,))
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            appender.append(rows[start : start + size])
    store = Store(tmp_path / "store")
    np.testing.assert_array_equal(store["rows"], rows)
    store.verify()


def test_an_error_while_writing_leaves_the_old_store(tmp_path):
    write(tmp_path / "store", a=np.arange(3))

    def write_until_the_power_fails():
        with StoreWriter(tmp_path / "store", {}) as writer:
            writer.add("b", np.arange(4))
            assert is_complete(tmp_path / "store")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_until_the_power_fails()
    assert list(Store(tmp_path / "store")) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_first_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="expected rows of shape"), StoreWriter(tmp_path / "store", {}) as writer:
        writer.appender("a", np.int32, (2,)).append(np.zeros((4, 3)))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_not_a_store_and_is_replaced(tmp_path):
    partial = tmp_path / "store.partial"
    partial.mkdir()
    (partial / "a.npy").write_bytes(b"half")
    assert not is_complete(tmp_path / "store")
    with pytest.raises(StoreError, match="no prepared data at"):
        Store(tmp_path / "store")
    write(tmp_path / "store", a=np.arange(3))
    assert Store(tmp_path / "store")["a"].tolist() == [0, 1, 2]
    assert not partial.exists()


@reuse_folder
@given(st.data())
def test_any_changed_bit_is_found(tmp_path, data):
    path = write(tmp_path / "store", a=np.arange(20), b=np.ones((3, 2), np.float32))
    file = data.draw(st.sampled_from(sorted(path.iterdir())))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        same_meaning = file.suffix == ".json" and json.loads(content) == json.loads(file.read_bytes())
    except ValueError:
        same_meaning = False
    file.write_bytes(content)
    if same_meaning:
        return
    with pytest.raises(StoreError, match=r"damaged|has store format|should have"):
        Store(path).verify()


@reuse_folder
@given(st.data())
def test_truncated_and_missing_files_are_found_on_opening(tmp_path, data):
    path = write(tmp_path / "store", a=np.arange(20), b=np.ones((3, 2), np.float32))
    file = data.draw(st.sampled_from(sorted(path.glob("*.npy"))))
    kept = data.draw(st.integers(-1, file.stat().st_size - 1))
    if kept < 0:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(StoreError, match=rf"{file.name} should have .* prepare it again"):
        Store(path)


def test_other_versions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("algoperf.data.store.FORMAT_VERSION", 99)
    path = write(tmp_path / "store", a=np.arange(3))
    monkeypatch.undo()
    with pytest.raises(StoreError, match="has store format 99"):
        Store(path)


@reuse_folder
@given(st.dictionaries(st.sampled_from("abc"), some_arrays, min_size=1))
def test_every_array_is_a_file_that_numpy_reads_by_itself(tmp_path, contents):
    path = write(tmp_path / "store", **contents)
    for name, array in contents.items():
        np.testing.assert_array_equal(np.load(path / f"{name}.npy", mmap_mode="r"), array, strict=True)


def test_stores_of_the_first_format_are_still_read_and_checked(tmp_path):
    rows = np.arange(6, dtype="<i4").reshape(3, 2)
    rows.tofile(tmp_path / "rows.bin")
    entry = {"dtype": "<i4", "shape": [3, 2], "crc32": zlib.crc32(rows.tobytes())}
    manifest = {"format_version": 1, "meta": {"source": "old"}, "arrays": {"rows": entry}}
    manifest["crc32"] = zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
    (tmp_path / "store.json").write_text(json.dumps(manifest))
    store = Store(tmp_path)
    store.verify()
    np.testing.assert_array_equal(store["rows"], rows, strict=True)
    (tmp_path / "rows.bin").write_bytes(bytes(24))
    with pytest.raises(StoreError, match=r"rows\.bin is damaged"):
        store.verify()


def test_unknown_arrays_are_named(tmp_path):
    store = Store(write(tmp_path / "store", a=np.arange(3), b=np.arange(2)))
    with pytest.raises(KeyError, match="no array 'c'; it has a, b"):
        store["c"]
    with StoreWriter(tmp_path / "other", {}) as writer:
        writer.add("a", np.arange(3))
        with pytest.raises(ValueError, match="already in this store"):
            writer.add("a", np.arange(3))


def test_empty_arrays_are_kept(tmp_path):
    store = Store(write(tmp_path / "store", a=np.zeros((0, 4), np.float32)))
    assert store["a"].shape == (0, 4)
    store.verify()


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_named(tmp_path, label):
    with StoreWriter(tmp_path / "store", {}) as writer:
        writer.add("train_labels", np.asarray([0, 3, label, 2], np.int32))
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match=rf"label {label} of example 2 in train_labels is not one of 0 to 3"):
        check_labels(store, "train_labels", 4)
