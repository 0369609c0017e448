"""The statistics hold on simulated boards; `benchmarks/scoring_coverage.py` measures them at length."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/scoring_coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("scoring_coverage", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["distinct", "close", "distinct, misses"])
@pytest.mark.parametrize("studies", [2, 3])
def test_intervals_cover_the_true_scores(coverage, name: str, studies: int) -> None:
    [kind] = [kind for kind in coverage.INTERVAL_KINDS if kind.name == name]
    covered, width = coverage.interval_coverage(
        dataclasses.replace(kind, studies=studies), boards=60, replicates=200, seed=7
    )
    assert covered > 0.91  # 300 scores of 60 boards, three standard errors below 0.95
    assert width < 0.35  # not by being vacuous


@pytest.mark.parametrize("name", ["all tied", "all tied, misses"])
def test_hardly_a_board_says_anything_where_nobody_is_better(coverage, name: str) -> None:
    [kind] = [kind for kind in coverage.TIED_KINDS if kind.name == name]
    assert coverage.claims(kind, boards=60, replicates=200, seed=7).boards_with_any <= 0.12  # 0.05 and 2.5 errors


def test_claims_are_right_where_somebody_is_better(coverage) -> None:
    found = coverage.claims(coverage.DISTINCT_KINDS[0], boards=30, replicates=200, seed=7)
    assert found.boards_with_wrong <= 0.1
    assert found.pairs_resolved > 0.2
    assert found.boards_with_ranks >= 0.9
