"""Prepared stores describe themselves in the Croissant format, as MLCommons' own library reads it."""

import json
import warnings

import pytest

from algoperf.croissant import metadata
from algoperf.data import Store
from algoperf.data.store import METADATA_FILE
from algoperf.prepare import prepare_dataset
from algoperf.prepared_data import data_digest, verify_dataset
from algoperf.registry import REGISTRY
from algoperf.testing import toy_registry


def quiet(message):
    pass


@pytest.fixture
def store(tmp_path):
    registry = toy_registry()
    return prepare_dataset(registry.get("toy_mini"), tmp_path, report=quiet, registry=registry)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that mlcroissant uses
        import mlcroissant

        dataset = mlcroissant.Dataset(jsonld=path)
        return dataset, list(dataset.records("arrays"))


def test_the_library_of_mlcommons_reads_it_without_complaint(store):
    dataset, records = read(store / METADATA_FILE)
    assert dataset.metadata.issues.errors == set()
    assert dataset.metadata.name == "toy_mini"
    actual = {record["arrays/file"]: record["arrays/crc32"] for record in records}
    assert actual == {f"{name}.npy": entry["crc32"] for name, entry in Store(store).entries.items()}


def test_of_a_full_dataset_it_names_makers_and_license(store, tmp_path):
    definition, source = REGISTRY.get("ogbg"), REGISTRY.dataset_source("ogbg")
    path = tmp_path / "ogbg.json"
    path.write_text(json.dumps(metadata(definition, source, store, "1.2.3")))
    dataset, _ = read(path)
    assert dataset.metadata.issues.errors == set()
    content = json.loads(path.read_text())
    assert content["license"] == source.license.url
    assert content["creator"]["name"] == source.creators


def test_it_is_no_part_of_the_contents_and_is_replaced_with_the_store(store, tmp_path):
    registry = toy_registry()
    definition = registry.get("toy_mini")
    digest = data_digest(definition, tmp_path)
    (store / METADATA_FILE).write_text("{}")
    assert data_digest(definition, tmp_path) == digest
    assert verify_dataset(definition, tmp_path) == 1
    (store / "store.json").unlink()
    prepare_dataset(definition, tmp_path, report=quiet, registry=registry)
    assert json.loads((store / METADATA_FILE).read_text())["name"] == "toy_mini"
