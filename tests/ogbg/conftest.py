"""A store of a few generated molecules."""

import dataclasses

import pytest

from algoperf.definition import SplitSizes
from algoperf.prepare import prepare_dataset
from workloads.ogbg.definition import MINI


@pytest.fixture(scope="session")
def tiny_definition():
    sizes = SplitSizes(train=80, eval_train=20, validation=30, test=25)
    return dataclasses.replace(MINI, splits=sizes, model=MINI.checks.small_model)


@pytest.fixture(scope="session")
def molecule_dir(tiny_definition, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("molecules")
    prepare_dataset(tiny_definition, data_dir, report=lambda message: None)
    return data_dir
