"""docs/data.md says what is declared."""

import re
from pathlib import Path

import pytest

from algoperf.data.disk_space import format_bytes
from algoperf.dataset_overview import dataset_states, definitions_by_names
from algoperf.registry import REGISTRY

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text()
DATASETS = sorted({source.dataset for source in map(REGISTRY.dataset_source, REGISTRY.names()) if source})


def rows(section):
    """Columns of the rows of a section's table, by dataset."""
    lines = PAGE.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    cells = [[text.strip() for text in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("section", ["Sizes", "What is read", "What a user should know of each"])
def test_every_table_has_every_dataset(section):
    assert [*rows(section)] == DATASETS


@pytest.mark.parametrize("dataset", DATASETS)
def test_sizes_and_licenses_are_those_that_are_declared(dataset, tmp_path):
    (state,) = dataset_states(definitions_by_names([dataset]), tmp_path)
    source = state.source
    sizes = [format_bytes(count) for count in (source.download_bytes, source.store_bytes, state.peak_bytes)]
    assert rows("Sizes")[dataset] == [source.license.name, *sizes]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_files_that_are_read_are_named(dataset):
    source = REGISTRY.dataset_source(definitions_by_names([dataset])[0].name)
    stems = {re.split(r"[-_.]", file.name)[0] for file in source.files}
    named = rows("What is read")[dataset][0]
    assert any(stem in named for stem in stems) or dataset == "mnist"
