import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workloads.common.random_numbers import example_seeds, uniforms

words = st.integers(-(2**62), 2**62)


def test_numbers_are_those_of_tensorflows_stateless_uniform() -> None:
    # tf.random.stateless_uniform([4], seed=(0, 0)), TensorFlow 2.19
    expected = [0.211015, 0.706010, 0.800063, 0.770792]
    np.testing.assert_allclose(uniforms(np.array([0, 0]), 4), expected, atol=1e-6)


@given(words, words, st.integers(1, 30), st.integers(0, 30))
def test_fewer_numbers_are_a_prefix_of_more(first: int, second: int, count: int, more: int) -> None:
    seeds = np.array([first, second])
    np.testing.assert_array_equal(uniforms(seeds, count), uniforms(seeds, count + more)[:count])


def test_rows_do_not_depend_on_one_another() -> None:
    seeds = example_seeds(7, np.array([0, 0, 1, 5]), np.array([3, 4, 3, 2**39]))
    together = uniforms(seeds, 10)
    np.testing.assert_array_equal(together, np.stack([uniforms(row, 10) for row in seeds]))
    assert len(np.unique(together)) == together.size


def test_numbers_are_uniform() -> None:
    values = uniforms(example_seeds(1, np.zeros(400, np.int64), np.arange(400)), 25).ravel()
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 500).max() < 6 * np.sqrt(500)
