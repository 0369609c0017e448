"""From nothing to a prepared dataset in one command."""

import collections
import io
import os
import shutil

import numpy as np
import pytest
from http_server import FaultyServer, cut_after, status

from algoperf import prepare
from algoperf.data import Store
from algoperf.data.disk_space import DiskSpaceError
from algoperf.dataset_overview import dataset_states, definitions_by_names
from algoperf.dataset_source import DatasetSource, License, RemoteFile
from algoperf.definition import Tier
from algoperf.downloads.fetch import FetchPolicy
from algoperf.raw_data import require_disk_space
from algoperf.registry import REGISTRY, UnknownWorkloadError, suites
from algoperf.testing import toy_registry
from algoperf.testing.toy_workload.prepare import RAW_FILE, generate

LICENSE = License(name="CC-BY-4.0", url="https://host/terms", note="cite it")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("algoperf.downloads.fetch.DEFAULT_POLICY", FetchPolicy(attempts=2, backoff_s=0.0))


@pytest.fixture
def server():
    text = io.StringIO()
    np.savetxt(text, generate(toy_registry().get("toy")), delimiter=",")
    with FaultyServer({f"/{RAW_FILE}": text.getvalue().encode()}).running() as running:
        yield running


@pytest.fixture
def registry(server, monkeypatch):
    """The toy workloads, of which the full one says where its data come from."""
    content = server.files[f"/{RAW_FILE}"]
    source = DatasetSource(
        dataset="toy",
        title="Toy",
        creators="us",
        homepage="https://host",
        license=LICENSE,
        files=(RemoteFile(name=RAW_FILE, urls=(server.url(f"/{RAW_FILE}"),), num_bytes=len(content)),),
        store_bytes=10_000,
        core_hours=1.0,
        core_hours_basis="estimated",
    )
    registry = toy_registry()
    monkeypatch.setattr(registry, "dataset_source", lambda name: source if name == "toy" else None)
    return registry


def run(registry, *arguments):
    return prepare.main([str(argument) for argument in arguments], registry=registry)


def test_one_command_from_nothing(tmp_path, server, registry, capsys):
    assert run(registry, "toy", "--download", "--accept_licenses", f"--data_dir={tmp_path}") == 0
    Store(tmp_path / "prepared/toy").verify()
    assert sorted(os.listdir(tmp_path / "prepared/toy_raw")) == ["downloads.json", RAW_FILE]
    server.requests.clear()
    shutil.rmtree(tmp_path / "prepared/toy")
    assert run(registry, "toy", f"--data_dir={tmp_path}") == 0, "what was downloaded is used again"
    assert server.requests == []


def test_the_license_is_named_and_has_to_be_accepted(tmp_path, server, registry, capsys):
    assert run(registry, "toy", "--download", f"--data_dir={tmp_path}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--accept_licenses" in line
    assert "toy: CC-BY-4.0, https://host/terms (cite it)" in line
    assert server.requests == []


def test_a_cut_download_is_one_line_and_the_same_command_resumes(tmp_path, server, registry, capsys):
    server.faults = [cut_after(100), status(500)]
    command = ("toy", "--download", "--accept_licenses", f"--data_dir={tmp_path}")
    assert run(registry, *command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "500 Internal Server Error" in line
    assert "100 bytes are kept" in line
    assert not (tmp_path / "prepared/toy").exists()
    server.requests.clear()
    assert run(registry, *command) == 0
    assert server.requests == [(f"/{RAW_FILE}", "bytes=100-")]


def test_the_disk_is_checked_before_the_first_byte(tmp_path, server, registry, capsys, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    needed = 10_000 + len(server.files[f"/{RAW_FILE}"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=needed - 1))
    assert run(registry, "toy", "--download", "--accept_licenses", f"--data_dir={tmp_path}") == 1
    assert "preparing toy needs" in capsys.readouterr().err
    assert server.requests == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=needed))
    assert run(registry, "toy", "--download", "--accept_licenses", f"--data_dir={tmp_path}") == 0


def test_all_datasets_together_have_to_fit(tmp_path, monkeypatch):
    definitions = definitions_by_names(["qualification"])
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=1_040_000_000_000))
    require_disk_space(definitions[:1], tmp_path, downloads=True, registry=REGISTRY)
    with pytest.raises(DiskSpaceError, match=r"preparing criteo1tb, ogbg, wmt needs 1\.05 TB"):
        require_disk_space(definitions, tmp_path, downloads=True, registry=REGISTRY)


def test_files_that_a_user_has_are_not_downloaded(tmp_path, server, registry):
    given = tmp_path / "given"
    given.mkdir()
    (given / RAW_FILE).write_bytes(server.files[f"/{RAW_FILE}"])
    command = ("toy", "--download", "--accept_licenses", f"--data_dir={tmp_path / 'data'}", f"--source_dir={given}")
    assert run(registry, *command) == 0
    assert server.requests == []
    assert os.listdir(given) == [RAW_FILE]


def test_raw_data_in_another_form_are_not_downloaded_again(tmp_path, server, registry, monkeypatch, capsys):
    other = tmp_path / "data" / "other"
    other.mkdir(parents=True)
    module = registry.module("toy", "prepare")
    found = lambda definition, folder: other if other in (folder, folder / "other") else None  # noqa: E731
    monkeypatch.setattr(module, "find_raw", found, raising=False)
    for option in (f"--source_dir={other}", "--num_workers=1"):
        run(registry, "toy", "--download", "--accept_licenses", f"--data_dir={tmp_path / 'data'}", option)
        assert "nothing is downloaded" in capsys.readouterr().out
    assert server.requests == []
    (other / RAW_FILE).write_bytes(server.files[f"/{RAW_FILE}"])
    assert run(registry, "toy", "--download", "--accept_licenses", f"--data_dir={tmp_path / 'data'}", option) == 0


def test_a_link_asks_for_the_download(tmp_path, capsys):
    assert run(REGISTRY, "imagenet", "--imagenet_train_url=http://127.0.0.1:9/x", f"--data_dir={tmp_path}") == 1
    assert "--accept_licenses" in capsys.readouterr().err


def test_one_that_fails_does_not_stop_the_others(tmp_path, server, registry, capsys):
    del server.files[f"/{RAW_FILE}"]
    assert run(registry, "toy", "toy_mini", "--download", "--accept_licenses", f"--data_dir={tmp_path}") == 1
    assert "404 Not Found" in capsys.readouterr().err
    Store(tmp_path / "prepared/toy_mini").verify()


def columns(registry, capsys, *arguments):
    capsys.readouterr()
    assert run(registry, *arguments) == 0
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}


def test_the_list_says_what_is_there_and_what_it_takes(tmp_path, server, registry, capsys):
    data, given = f"--data_dir={tmp_path / 'data'}", tmp_path / "given"
    row = columns(registry, capsys, data)["toy"]
    assert row.split()[1:3] == ["-", "-"]
    assert "10.0 kB" in row
    assert "est." in row
    given.mkdir()
    (given / RAW_FILE).write_bytes(server.files[f"/{RAW_FILE}"])
    assert columns(registry, capsys, data, f"--source_dir={given}")["toy"].split()[1:3] == ["-", "there"]
    run(registry, "toy", "--download", "--accept_licenses", data)
    row = columns(registry, capsys, data)["toy"]
    assert row.split()[1:3] == ["prepared", "there"]
    assert "measured" in row


def test_names_of_workloads_datasets_suites_and_all():
    def datasets(*names):
        return [definition.dataset for definition in definitions_by_names(names)]

    assert datasets("imagenet") == ["imagenet"]
    assert datasets("librispeech") == ["librispeech"]
    assert datasets("imagenet_vit", "imagenet_resnet", "imagenet") == ["imagenet"]
    assert datasets("qualification") == ["criteo1tb", "ogbg", "wmt"]
    every = {definition.dataset for definition in REGISTRY.definitions() if definition.tier is not Tier.MINI}
    assert {*datasets("all")} == every
    for name in suites():
        assert datasets(name)
    with pytest.raises(UnknownWorkloadError, match="did you mean imagenet"):
        definitions_by_names(["imagenett"])


def test_every_state_of_the_real_datasets_says_what_it_takes(tmp_path):
    for state in dataset_states(REGISTRY.definitions(), tmp_path):
        if state.is_generated:
            assert state.source is None
        else:
            assert state.peak_bytes > state.source.download_bytes
            assert state.hours > 0
            assert not state.is_measured


def test_links_that_a_license_hands_out_have_flags_named_as_in_algoperf(tmp_path, capsys, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=10**12))
    with pytest.raises(SystemExit):
        run(REGISTRY, "--help")
    text = capsys.readouterr().out
    for flag in ("imagenet_train_url", "imagenet_val_url", "fastmri_knee_singlecoil_train_url"):
        assert f"--{flag} URL" in text
    assert run(REGISTRY, "fastmri", "--download", "--accept_licenses", f"--data_dir={tmp_path}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--fastmri_knee_singlecoil_train_url=URL --fastmri_knee_singlecoil_val_url=URL" in line
