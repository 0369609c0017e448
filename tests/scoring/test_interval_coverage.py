"""The 95 % intervals cover the truth on simulated boards; the benchmark measures it at length."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/scoring_coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("scoring_coverage", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"spread": 0.0, "texture": 0.02}, {"misses": True}])
def test_intervals_and_rank_sets_cover_the_truth(coverage, changes: dict) -> None:
    kind = coverage.Kind(name="", studies=3, noise=0.1, **changes)
    tallies = [coverage.simulate_board(kind, [7, k], replicates=500) for k in range(60)]
    mean = {f.name: np.mean([getattr(t, f.name) for t in tallies]) for f in dataclasses.fields(tallies[0])}
    assert mean["score"] > 0.92  # 300 scores: three standard errors below 0.95 is 0.912
    assert mean["pair"] > 0.92
    assert mean["rank"] > 0.92
    assert mean["wrong_verdicts"] < 0.05
    assert mean["width"] < 0.5  # not by being vacuous
