"""Weighted means: laws of the accumulator."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.metrics import WeightedMeans

rows = st.lists(st.tuples(st.floats(-1e3, 1e3), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30).filter(
    lambda pairs: any(weight for _, weight in pairs)
)


def accumulate(pairs, boundaries=()):
    metrics = WeightedMeans(("loss",))
    edges = [0, *sorted(boundary % (len(pairs) + 1) for boundary in boundaries), len(pairs)]
    for start, stop in itertools.pairwise(edges):
        values, weights = np.array(pairs[start:stop], np.float64).reshape(-1, 2).T
        metrics.update({"loss": values}, {"weights": weights})
    return metrics


@given(rows)
def test_is_the_weighted_mean(pairs):
    values, weights = np.array(pairs).T
    expected = np.average(values, weights=weights)
    np.testing.assert_allclose(accumulate(pairs).compute()["loss"], expected, rtol=1e-9, atol=1e-9)


@given(rows, st.lists(st.integers(0, 100), max_size=4))
def test_batching_does_not_matter(pairs, boundaries):
    found = accumulate(pairs, boundaries).compute()["loss"]
    np.testing.assert_allclose(found, accumulate(pairs).compute()["loss"], rtol=1e-9, atol=1e-9)


@given(st.lists(rows, min_size=1, max_size=4), st.randoms())
def test_merging_in_any_order_and_after_pickling_equals_the_whole(parts, random):
    expected = accumulate([pair for part in parts for pair in part]).compute()["loss"]
    shuffled = list(parts)
    random.shuffle(shuffled)
    first, *others = (pickle.loads(pickle.dumps(accumulate(part))) for part in shuffled)
    for other in others:
        first.merge(other)
    np.testing.assert_allclose(first.compute()["loss"], expected, rtol=1e-9, atol=1e-9)


@given(rows, st.sampled_from([np.nan, np.inf, 1e30]))
def test_what_has_no_weight_does_not_count(pairs, garbage):
    expected = accumulate(pairs).compute()["loss"]
    assert accumulate([*pairs, (garbage, 0.0)]).compute()["loss"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_nothing_evaluated_is_an_error():
    with pytest.raises(ValueError, match="no example with weight"):
        accumulate([(1.0, 0.0)]).compute()


def test_nan_of_a_counted_example_shows():
    assert np.isnan(accumulate([(np.nan, 1.0), (1.0, 1.0)]).compute()["loss"])
