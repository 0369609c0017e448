"""The suite as pytest cases, for `python -m pytest --pyargs algoperf.testing.conformance`."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from algoperf.definition import FRAMEWORKS
from algoperf.registry import REGISTRY
from algoperf.testing.conformance.cases import Case, conformance_cases

CASES = conformance_cases(REGISTRY)


def as_parameter(case: Case) -> Any:
    marks = [getattr(pytest.mark, FRAMEWORKS[framework].package) for framework in case.frameworks]
    if case.skip_reason is not None:
        marks.append(pytest.mark.skip(reason=case.skip_reason))
    if importlib.util.find_spec("xdist"):
        marks.append(pytest.mark.xdist_group(case.shares))
    return pytest.param(case, marks=marks, id=case.id)


@pytest.fixture(scope="session")
def conformance_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance_data")


@pytest.mark.parametrize("case", [as_parameter(case) for case in CASES])
def test_workload(case: Case, conformance_data_dir: Path) -> None:
    case.run(conformance_data_dir)


@pytest.mark.parametrize("name", REGISTRY.names())
def test_some_check_of_the_workload_runs(name: str) -> None:
    """A workload whose every check is skipped has not passed."""
    reasons = {case.skip_reason for case in CASES if case.workload == name}
    assert None in reasons, f"every check of {name} is skipped: {reasons}"
