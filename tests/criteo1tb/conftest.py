"""A store of a few generated clicks."""

import dataclasses

import pytest

from algoperf.definition import SplitSizes
from algoperf.prepare import prepare_dataset
from workloads.criteo1tb.definition import MINI


@pytest.fixture(scope="session")
def tiny_definition():
    return dataclasses.replace(
        MINI.shrunk(), splits=SplitSizes(train=700, eval_train=96, validation=150, test=130), eval_batch_size=32
    )


@pytest.fixture(scope="session")
def clicks_dir(tiny_definition, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("clicks")
    prepare_dataset(tiny_definition, data_dir, report=lambda message: None, num_workers=2)
    return data_dir
