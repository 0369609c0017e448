"""Best value and first arrival at the target."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import Direction, MetricSpec
from algoperf.records.best import best_of, where_reached

LOSS = MetricSpec(name="loss", direction=Direction.MINIMIZE)
ACCURACY = MetricSpec(name="accuracy", direction=Direction.MAXIMIZE)
metrics = st.sampled_from([LOSS, ACCURACY])
curves = st.lists(st.floats(), max_size=8)


@given(curves, metrics, st.floats(allow_nan=False, allow_infinity=False))
def test_the_definition_in_plain_python(values, metric, target):
    finite = [index for index, value in enumerate(values) if math.isfinite(value)]
    hits = [index for index in finite if metric.reached(values[index], target)]
    found = best_of(values, metric, target)
    assert found.first_reached == (hits[0] if hits else None)
    assert (found.index is None) == (not finite)
    if finite:
        assert not any(metric.better(values[index], values[found.index]) for index in finite)
        assert values.index(values[found.index]) == found.index
    assert np.flatnonzero(where_reached(values, metric, target)).tolist() == hits


@pytest.mark.parametrize("metric", [LOSS, ACCURACY])
def test_a_first_value_that_is_nan_does_not_stay_the_best(metric):
    found = best_of([math.nan, 0.5, math.nan], metric, 0.5)
    assert (found.index, found.first_reached) == (1, 1)


@given(curves, st.floats(allow_nan=False, allow_infinity=False))
def test_a_loss_and_its_negative_agree(values, target):
    assert best_of(values, LOSS, target) == best_of([-value for value in values], ACCURACY, -target)
