"""Tests in this folder need a GPU; `make test-gpu` runs them, one framework in a process at a time."""

import pytest

from algoperf import nvidia


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if "tests/gpu" in item.path.as_posix()]
    has_gpu = bool(here) and bool(nvidia.gpus())
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if not has_gpu:
            item.add_marker(pytest.mark.skip(reason="no GPU"))
