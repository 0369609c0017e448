"""Registers the markers of the suite, so that it runs under `--strict-markers` in a project that has none of them."""

import pytest

from algoperf.definition import FRAMEWORKS


def pytest_configure(config: pytest.Config) -> None:
    for framework in FRAMEWORKS.values():
        config.addinivalue_line("markers", f"{framework.package}: needs {framework.package}")
    config.addinivalue_line("markers", "xdist_group(name): cases that share what one process computes once")
