"""What is declared of raw datasets."""

import dataclasses

import pytest

from algoperf.dataset_source import DatasetSource, License, RemoteFile
from algoperf.definition import Tier
from algoperf.registry import REGISTRY
from algoperf.testing import toy_registry


def test_every_full_dataset_says_where_it_comes_from_and_minis_are_generated():
    for definition in REGISTRY.definitions():
        source = REGISTRY.dataset_source(definition.name)
        if definition.tier is Tier.MINI:
            assert source is None
        else:
            assert source.dataset == definition.dataset
            assert source.license.name
            assert source.license.url.startswith("https://")


def test_a_workload_without_sources_declares_none():
    assert toy_registry().dataset_source("toy") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x.zip"}, "below the folder of downloads"),
        ({"name": "/x.zip"}, "below the folder of downloads"),
        ({"urls": ()}, "either urls or url_flag"),
        ({"url_flag": "x_url"}, "either urls or url_flag"),
        ({"num_bytes": 0}, "positive num_bytes"),
        ({"checksum": "md5:abc"}, "hexadecimal digest"),
        ({"checksum": "d41d8cd98f00b204e9800998ecf8427e"}, "hexadecimal digest"),
    ],
)
def test_a_file_that_cannot_be_fetched_as_declared_is_refused(changes, message):
    file = RemoteFile(name="x.zip", urls=("https://host/x.zip",), num_bytes=1)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(file, **changes)


def test_a_dataset_names_its_files_once_and_says_where_links_come_from():
    file = RemoteFile(name="x.zip", url_flag="x_url", num_bytes=1)
    fields = {
        "dataset": "x",
        "title": "X",
        "creators": "somebody",
        "homepage": "https://host",
        "license": License(name="MIT", url="https://host"),
        "store_bytes": 1,
        "core_hours": 1.0,
        "core_hours_basis": "estimated",
    }
    with pytest.raises(ValueError, match="different names"):
        DatasetSource(**fields, files=(file, file), access="ask")
    with pytest.raises(ValueError, match="access"):
        DatasetSource(**fields, files=(file,))
    assert list(DatasetSource(**fields, files=(file,), access="ask").url_flags()) == ["x_url"]
