"""Learning rates over a run, and scalars on their way to the log."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_algorithms.common import schedules
from reference_algorithms.common.hyperparameters import resolve
from reference_algorithms.common.scalars import DelayedScalars

POINT = SimpleNamespace(learning_rate=2.0, warmup_factor=0.1, decay_steps_factor=0.5, end_factor=0.01)
MAKERS = [schedules.cosine, schedules.linear, schedules.constant]


def test_cosine_warms_up_and_ends_at_the_horizon():
    rate = schedules.cosine(POINT, 1000)
    assert [rate(step) for step in (0, 50, 100)] == pytest.approx([0.0, 1.0, 2.0])
    assert rate(550) == pytest.approx(1.0)
    assert rate(100 + 300) == pytest.approx(1 + math.cos(math.pi / 3))
    assert rate(1000) == rate(5000) == 0.0


def test_linear_decays_over_a_part_and_stays():
    rate = schedules.linear(POINT, 1000)
    assert [rate(step) for step in (50, 100, 325)] == pytest.approx([1.0, 2.0, 2.0 * (1 + 0.01) / 2])
    assert rate(550) == rate(900) == pytest.approx(0.02)


def test_constant_stays():
    rate = schedules.constant(POINT, 1000)
    assert [float(rate(step)) for step in (25, 100, 1000, 10**7)] == [0.5, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("make", MAKERS)
def test_a_point_may_set_the_length_of_its_schedule(make):
    point = SimpleNamespace(**vars(POINT), schedule_steps=1000)
    assert make(point, 50_000) == make(POINT, 1000) != make(POINT, 50_000)


@given(st.sampled_from(MAKERS), st.integers(1, 10**6), st.integers(0, 2 * 10**6), st.floats(0, 0.99))
def test_rates_never_leave_the_range_nor_rise_after_the_warm_up(make, num_steps: int, step: int, warmup: float):
    point = SimpleNamespace(**vars(POINT) | {"warmup_factor": warmup})
    rate = make(point, num_steps)
    assert 0 <= rate(step) <= 2.0
    if step >= int(warmup * num_steps):
        assert rate(step + 1) <= rate(step)


@pytest.mark.jax
@pytest.mark.parametrize("make", MAKERS)
def test_jax_traces_the_same_numbers(make):
    import jax
    import jax.numpy as jnp

    rate, steps = make(POINT, 1000), np.arange(0, 1200, 7)
    traced = jax.jit(jax.vmap(lambda step: rate(step, jnp)))(jnp.asarray(steps))
    np.testing.assert_allclose(traced, [rate(step) for step in steps], atol=1e-6)


def test_scalars_are_written_one_interval_late_and_once():
    rows: list[tuple[int, dict[str, float]]] = []
    logger = SimpleNamespace(append_scalar_metrics=lambda metrics, step: rows.append((step, metrics)))
    scalars = DelayedScalars()
    scalars.log(logger, 0, {"loss": np.float32(1.5)})
    assert rows == []
    scalars.log(logger, 100, {"loss": np.float32(0.5)})
    assert rows == [(0, {"loss": 1.5})]
    scalars.flush()
    scalars.flush()
    assert rows == [(0, {"loss": 1.5}), (100, {"loss": 0.5})]


def test_a_submission_without_a_fixed_point_says_so():
    assert resolve(POINT, None) is POINT
    with pytest.raises(ValueError, match="--tuning_ruleset=external"):
        resolve(None, None)
