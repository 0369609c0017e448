"""Padding and its mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.data import pad_batch


@given(st.integers(1, 9), st.integers(0, 9), st.booleans())
def test_real_rows_stay_and_padding_is_zero_and_masked(num_rows, missing, has_weights):
    rows = np.arange(1, 2 * num_rows + 1, dtype=np.int32).reshape(num_rows, 2)
    batch = {"inputs": {"a": rows, "b": (rows[:, 0],)}, "targets": rows[:, 1]}
    if has_weights:
        batch["weights"] = np.full(num_rows, 0.5, np.float32)
    padded = pad_batch(batch, num_rows + missing)
    for leaf in (padded["inputs"]["a"][:, 0], padded["inputs"]["b"][0], padded["targets"], padded["weights"]):
        assert len(leaf) == num_rows + missing
        assert not leaf[num_rows:].any()
    np.testing.assert_array_equal(padded["inputs"]["a"][:num_rows], rows)
    np.testing.assert_array_equal(padded["weights"][:num_rows], 0.5 if has_weights else 1.0)
    assert padded["weights"].dtype == np.float32
    assert padded["targets"].dtype == np.int32


def test_weights_can_take_the_shape_of_another_leaf():
    batch = {"inputs": np.ones(2), "targets": np.ones((2, 5))}
    assert pad_batch(batch, 3, weights_like="targets")["weights"].tolist() == [[1] * 5, [1] * 5, [0] * 5]


def test_too_many_rows_are_refused():
    with pytest.raises(ValueError, match="3 examples does not fit into 2"):
        pad_batch({"inputs": np.ones(3)}, 2)
