"""Downloads of whole datasets: what is there, what is missing, and whether it is the right thing."""

import dataclasses
import hashlib
import json
import os

import pytest
from http_server import FaultyServer, cut_after, status

from algoperf.dataset_source import DatasetSource, License, RemoteFile
from algoperf.downloads.dataset import MissingLinkError, download_dataset, link_existing, missing_bytes, missing_files
from algoperf.downloads.fetch import DownloadError, FetchPolicy

FILES = {"/a.zip": b"a" * 5000, "/b/c.gz": b"c" * 3000}
QUICK = FetchPolicy(attempts=2, backoff_s=0.0)


@pytest.fixture
def server():
    with FaultyServer(FILES).running() as running:
        yield running


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def source(server):
    return DatasetSource(
        dataset="x",
        title="X",
        creators="somebody",
        homepage="https://host",
        license=License(name="MIT", url="https://host"),
        access="ask them",
        files=(
            RemoteFile(name="a.zip", urls=(server.url("/a.zip"),), num_bytes=5000, checksum=sha256(FILES["/a.zip"])),
            RemoteFile(name="b/c.gz", url_flag="c_url", num_bytes=2000, size_is_exact=False),
        ),
        store_bytes=1,
        core_hours=1.0,
        core_hours_basis="estimated",
    )


def run(source, folder, **links):
    messages = []
    download_dataset(source, folder, report=messages.append, links=links, policy=QUICK)
    return messages


def test_everything_is_fetched_once_and_recorded(tmp_path, server, source):
    assert missing_bytes(source, tmp_path) == 7000
    run(source, tmp_path, c_url=server.url("/b/c.gz?key=secret"))
    assert (tmp_path / "a.zip").read_bytes() == FILES["/a.zip"]
    assert (tmp_path / "b/c.gz").read_bytes() == FILES["/b/c.gz"]
    record = json.loads((tmp_path / "downloads.json").read_text())["files"]
    assert record["b/c.gz"]["checksum"] == sha256(FILES["/b/c.gz"])
    assert record["a.zip"]["address"] == server.url("/a.zip")
    assert "secret" not in (tmp_path / "downloads.json").read_text()
    assert missing_files(source, tmp_path) == []
    server.requests.clear()
    assert run(source, tmp_path) == []
    assert server.requests == []


def test_what_an_interrupted_download_has_counts(tmp_path, server, source):
    server.faults = [cut_after(4000), status(404)]
    with pytest.raises(DownloadError, match=r"4\.00 kB are kept"):
        run(source, tmp_path, c_url=server.url("/b/c.gz"))
    assert missing_bytes(source, tmp_path) == 3000
    run(source, tmp_path, c_url=server.url("/b/c.gz"))
    assert server.requests[-2:] == [("/a.zip", "bytes=4000-"), ("/b/c.gz", None)]


def test_a_missing_link_is_named_before_anything_is_fetched(tmp_path, server, source):
    with pytest.raises(MissingLinkError, match=r"expected --c_url=URL.*ask them.*b/c\.gz into a folder.*--source_dir"):
        run(source, tmp_path)
    assert server.requests == []


def test_files_that_a_user_has_are_linked_and_compared(tmp_path, server, source):
    given, folder = tmp_path / "given", tmp_path / "raw"
    (given / "b").mkdir(parents=True)
    (given / "b/c.gz").write_bytes(b"mine")
    link_existing(source, given, folder)
    assert missing_bytes(source, folder) == 5000
    messages = run(source, folder)
    assert any("c.gz: is there; reading it" in message for message in messages)
    assert (folder / "b/c.gz").read_bytes() == b"mine"
    (given / "b/c.gz").write_bytes(b"other")
    with pytest.raises(DownloadError, match=r"c\.gz has sha256:.*, expected sha256:.*move it elsewhere"):
        run(source, folder)
    assert (given / "b/c.gz").read_bytes() == b"other"


@pytest.mark.parametrize("content", [b"a" * 4999, b"a" * 4999 + b"b"])
def test_a_file_that_is_not_the_published_one_is_named_and_stays(tmp_path, server, source, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DownloadError, match=r"a\.zip has .*, expected .*damaged or another file"):
        run(source, tmp_path, c_url=server.url("/b/c.gz"))
    assert (tmp_path / "a.zip").read_bytes() == content


def test_what_is_fetched_again_has_to_be_what_it_was(tmp_path, server, source):
    """Where a publisher gives no checksum, that of the first download is kept."""
    run(source, tmp_path, c_url=server.url("/b/c.gz"))
    (tmp_path / "b/c.gz").unlink()
    server.files["/b/c.gz"] = b"d" * 3000
    with pytest.raises(DownloadError, match=f"expected {sha256(FILES['/b/c.gz'])}"):
        run(source, tmp_path, c_url=server.url("/b/c.gz"))
    assert sorted(os.listdir(tmp_path / "b")) == ["c.gz.part", "c.gz.part.json"]
    server.files["/b/c.gz"] = FILES["/b/c.gz"]
    run(source, tmp_path, c_url=server.url("/b/c.gz"))


def test_other_addresses_of_a_file_serve_as_well(tmp_path, server, source):
    first, second = source.files
    several = dataclasses.replace(first, urls=(server.url("/gone"), *first.urls))
    run(dataclasses.replace(source, files=(several, second)), tmp_path, c_url=server.url("/b/c.gz"))
    assert (tmp_path / "a.zip").read_bytes() == FILES["/a.zip"]
