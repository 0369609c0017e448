"""The command that prepares datasets, and what a run does about missing ones."""

import dataclasses
import multiprocessing
import shutil
from collections import defaultdict

import numpy as np
import pytest

from algoperf import prepare, prepared_data
from algoperf.data import Store
from algoperf.data.disk_space import DiskSpaceError
from algoperf.data.store import StoreError
from algoperf.registry import REGISTRY
from algoperf.testing import toy_registry
from algoperf.testing.toy_workload.prepare import RAW_FILE, generate


@pytest.fixture
def registry():
    return toy_registry()


def silent(message):
    pass


def run(registry, *arguments):
    return prepare.main([str(argument) for argument in arguments], registry=registry)


def test_mini_is_generated_once(tmp_path, registry):
    definition = registry.get("toy_mini")
    messages = []
    prepare.ensure_prepared(definition, tmp_path, messages.append, registry=registry)
    assert len(Store(tmp_path / "prepared" / "toy_mini")["inputs"]) == 280
    assert any("280 rows" in message for message in messages)
    messages.clear()
    prepare.ensure_prepared(definition, tmp_path, messages.append, registry=registry)
    assert messages == []


def test_damaged_mini_is_generated_again_and_a_damaged_full_dataset_is_an_error(tmp_path, registry, capsys):
    prepare.ensure_prepared(registry.get("toy_mini"), tmp_path, silent, registry=registry)
    (tmp_path / "prepared" / "toy_mini" / "inputs.npy").write_bytes(b"short")
    messages = []
    prepare.ensure_prepared(registry.get("toy_mini"), tmp_path, messages.append, registry=registry)
    assert "generating it again" in messages[0]
    Store(tmp_path / "prepared" / "toy_mini").verify()
    (tmp_path / "prepared" / "toy_mini").rename(tmp_path / "toy")
    (tmp_path / "toy" / "inputs.npy").write_bytes(b"short")
    with pytest.raises(StoreError, match=r"inputs\.npy should have"):
        prepare.ensure_prepared(registry.get("toy"), tmp_path, silent, registry=registry)


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def test_one_wrong_bit_of_a_mini_is_found_before_a_run(tmp_path, registry):
    prepare.ensure_prepared(registry.get("toy_mini"), tmp_path, silent, registry=registry)
    flip_a_bit(tmp_path / "prepared" / "toy_mini" / "inputs.npy")
    messages = []
    prepare.ensure_prepared(registry.get("toy_mini"), tmp_path, messages.append, registry=registry)
    assert "inputs.npy is damaged" in messages[0]
    assert "generating it again" in messages[0]
    assert prepared_data.verify_dataset(registry.get("toy_mini"), tmp_path) == 1


def test_stores_of_earlier_versions_are_read_and_verified_where_they_are(tmp_path, registry):
    definition = registry.get("toy_mini")
    prepare.ensure_prepared(definition, tmp_path, silent, registry=registry)
    digest = prepared_data.data_digest(definition, tmp_path)
    (tmp_path / "prepared" / "toy_mini").rename(tmp_path / "toy_mini")
    messages = []
    prepare.ensure_prepared(definition, tmp_path, messages.append, registry=registry)
    assert messages == []
    assert prepared_data.data_digest(definition, tmp_path) == digest
    assert len(registry.module("toy_mini", "data").open_split(definition, "validation", tmp_path)) > 0
    assert run(registry, "toy_mini", f"--data_dir={tmp_path}") == 0
    assert not (tmp_path / "prepared" / "toy_mini").exists()
    flip_a_bit(tmp_path / "toy_mini" / "inputs.npy")
    prepare.ensure_prepared(definition, tmp_path, silent, registry=registry)
    assert prepared_data.verify_dataset(definition, tmp_path) == 1, "the new store is read"


def test_the_digest_stands_for_the_contents_not_for_the_place(tmp_path, registry):
    definition = registry.get("toy_mini")
    other = dataclasses.replace(definition, data=dataclasses.replace(definition.data, seed=99))
    for folder, prepared in (("a", definition), ("b", definition), ("c", other)):
        prepare.prepare_dataset(prepared, tmp_path / folder, report=silent, registry=registry)
    a, b, c = (prepared_data.data_digest(definition, tmp_path / folder) for folder in "abc")
    assert a == b != c


def with_seed(definition, seed):
    return dataclasses.replace(definition, data=dataclasses.replace(definition.data, seed=seed))


def test_a_mini_of_other_settings_is_generated_again(tmp_path, registry):
    definition = registry.get("toy_mini")
    prepare.ensure_prepared(definition, tmp_path, silent, registry=registry)
    changed, messages = with_seed(definition, 99), []
    before = prepared_data.data_digest(definition, tmp_path)
    prepare.ensure_prepared(changed, tmp_path, messages.append, registry=registry)
    expected = f"expected {changed.store_digest()}, those of toy_mini now"
    assert messages[0].startswith("toy_mini: made with other settings, so generating it again (")
    assert expected in messages[0]
    assert prepared_data.data_digest(changed, tmp_path) != before
    messages.clear()
    prepare.ensure_prepared(changed, tmp_path, messages.append, registry=registry)
    assert messages == []


def test_a_full_dataset_of_other_settings_is_an_error_until_it_is_prepared_again(tmp_path, registry):
    source = tmp_path / "source"
    source.mkdir()
    definition = registry.get("toy")
    np.savetxt(source / RAW_FILE, generate(definition), delimiter=",")
    assert run(registry, "toy", f"--data_dir={tmp_path}", f"--source_dir={source}") == 0
    changed = with_seed(definition, 99)
    with pytest.raises(
        prepared_data.OtherSettingsError, match=r"toy was prepared with the settings .*; prepare it again"
    ):
        prepare.ensure_prepared(changed, tmp_path, silent, registry=registry)
    prepare.prepare_dataset(changed, tmp_path, report=silent, source_dir=source, registry=registry)
    prepare.ensure_prepared(changed, tmp_path, silent, registry=registry)


def test_a_store_that_does_not_say_its_settings_is_read(tmp_path, registry):
    definition, messages = registry.get("toy_mini"), []
    registry.module("toy_mini", "prepare").prepare(
        definition, tmp_path, source_dir=None, num_workers=1, report=silent
    )  # alone, as earlier versions did
    assert Store(tmp_path / "prepared" / "toy_mini").settings is None
    prepare.ensure_prepared(with_seed(definition, 99), tmp_path, messages.append, registry=registry)
    assert messages == []


def test_workloads_of_one_dataset_agree_on_its_settings():
    settings = defaultdict(set)
    for definition in REGISTRY.definitions():
        settings[definition.dataset].add(definition.store_digest())
    assert {dataset: len(digests) for dataset, digests in settings.items()} == dict.fromkeys(settings, 1)


def test_a_lock_or_a_place_that_cannot_be_used_is_one_line(tmp_path, registry, capsys, monkeypatch):
    (tmp_path / "prepared" / ".toy_mini.lock").mkdir(parents=True)
    assert run(registry, "toy_mini", f"--data_dir={tmp_path}") == 1
    assert "choose another --data_dir" in capsys.readouterr().err

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_file", denied)
    with pytest.raises(StoreError, match=r"^cannot read .*toy_mini: Permission denied; check its permissions"):
        prepare.ensure_prepared(registry.get("toy_mini"), tmp_path, silent, registry=registry)


def test_a_store_without_permission_is_one_line(tmp_path, registry, monkeypatch):
    prepare.ensure_prepared(registry.get("toy_mini"), tmp_path, silent, registry=registry)

    def denied(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("numpy.memmap", "pathlib.Path.read_text"):
        with monkeypatch.context() as patch:
            patch.setattr(name, denied)
            with pytest.raises(StoreError, match="Permission denied; check its permissions"):
                Store(tmp_path / "prepared" / "toy_mini")


def test_missing_full_dataset_says_how_to_get_it(tmp_path, registry):
    with pytest.raises(prepare.MissingDatasetError, match=r"no prepared data for toy at .*\n.*toy\.csv yourself"):
        prepare.ensure_prepared(registry.get("toy"), tmp_path, silent, registry=registry)


def test_full_dataset_from_its_source(tmp_path, registry, capsys):
    source = tmp_path / "source"
    source.mkdir()
    np.savetxt(source / RAW_FILE, generate(registry.get("toy")), delimiter=",")
    data = tmp_path / "data"
    assert run(registry, "toy", f"--data_dir={data}", f"--source_dir={source}") == 0
    prepare.ensure_prepared(registry.get("toy"), data, silent, registry=registry)
    assert run(registry, "toy", "--verify", f"--data_dir={data}") == 0
    assert "toy: intact (1 store)" in capsys.readouterr().out
    assert run(registry, "toy", f"--data_dir={data}") == 0
    assert "already prepared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tooy"], "did you mean toy"),
        (["toy"], "toy.csv is not in --source_dir=None"),
        (["toy", "--verify"], "no prepared data at"),
    ],
)
def test_mistakes_end_with_one_line_and_status_1(tmp_path, registry, capsys, arguments, message):
    assert run(registry, *arguments, f"--data_dir={tmp_path}") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_data_directory_that_cannot_be_made(tmp_path, registry, capsys):
    (tmp_path / "file").write_text("")
    assert run(registry, "toy_mini", f"--data_dir={tmp_path / 'file' / 'data'}") == 1
    assert "choose another --data_dir" in capsys.readouterr().err


def test_verify_names_the_damaged_file(tmp_path, registry, capsys):
    run(registry, "toy_mini", f"--data_dir={tmp_path}")
    file = tmp_path / "prepared" / "toy_mini" / "targets.npy"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert run(registry, "toy_mini", "--verify", f"--data_dir={tmp_path}") == 1
    assert "targets.npy is damaged" in capsys.readouterr().err


def test_too_small_a_disk_is_noticed_before_work_starts(tmp_path, registry, monkeypatch):
    usage = dataclasses.make_dataclass("Usage", ["free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=9_999))
    with pytest.raises(DiskSpaceError, match=r"needs 10\.0 kB more, .* has 10\.0 kB free; free some, or .* --data_dir"):
        prepare.prepare_dataset(registry.get("toy_mini"), tmp_path, report=silent, registry=registry)
    assert not (tmp_path / "prepared" / "toy_mini_raw").exists()


def test_disk_failure_is_one_line_and_leaves_no_store(tmp_path, registry, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("algoperf.data.store.ArrayAppender.append", full)
    assert run(registry, "toy_mini", f"--data_dir={tmp_path}") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "prepared" / "toy_mini").exists()
    assert not (tmp_path / "prepared" / "toy_mini.partial").exists()


def test_listing_and_how_to_get(tmp_path, registry, capsys):
    run(registry, "toy_mini", f"--data_dir={tmp_path}")
    capsys.readouterr()
    assert run(registry, f"--data_dir={tmp_path}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["toy", "-", "-"]
    assert lines[2].split()[:3] == ["toy_mini", "prepared", "generated"]
    assert run(registry, "toy", "--how_to_get") == 0
    assert "write toy.csv yourself" in capsys.readouterr().out


def _prepare_in_child(data_dir, messages):
    registry = toy_registry()
    prepare.ensure_prepared(registry.get("toy_mini"), data_dir, messages.put, registry=registry)
    Store(data_dir / "prepared" / "toy_mini").verify()
    messages.put("done")


def test_processes_that_start_together_prepare_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    children = [context.Process(target=_prepare_in_child, args=(tmp_path, messages)) for _ in range(3)]
    for child in children:
        child.start()
    received = []
    while received.count("done") < 3:
        received.append(messages.get(timeout=60))
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert sum("280 rows" in message for message in received) == 1
