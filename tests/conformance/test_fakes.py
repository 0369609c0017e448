"""The fakes that tests of the harness stand on."""

import numpy as np
import pytest

from algoperf.backends.base import UnsavableStateError
from algoperf.testing import FakeBackend, FakeClock, toy_registry


def test_clock_moves_by_command_and_never_back():
    clock = FakeClock(start_s=5.0)
    assert clock() == clock() == 5.0
    clock.advance(2.5)
    clock.sleep(0.5)
    assert clock() == 8.0
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_clock_can_tick_with_every_reading():
    clock = FakeClock(tick_s=1.0)
    assert [clock(), clock(), clock()] == [1.0, 2.0, 3.0]


def test_queued_work_is_waited_for_once():
    clock = FakeClock()
    backend = FakeBackend(sleep=clock.advance)
    backend.queue_work(2.0)
    backend.queue_work(1.0)
    assert clock() == 0.0
    backend.fence()
    backend.fence()
    assert clock() == 3.0
    assert backend.events == ["fence", "fence"]


def test_state_round_trip_and_what_cannot_be_saved(tmp_path):
    backend = FakeBackend()
    state = {"model_params": {"w": np.arange(3.0)}, "model_state": None, "optimizer_state": [1, {"m": np.ones(2)}]}
    backend.save_state(tmp_path, state)
    restored = backend.load_state(tmp_path, state)
    np.testing.assert_array_equal(restored["model_params"]["w"], state["model_params"]["w"])
    np.testing.assert_array_equal(restored["optimizer_state"][1]["m"], np.ones(2))
    with pytest.raises(UnsavableStateError, match=r"state\.optimizer_state\[0\]\.file is a object"):
        backend.save_state(tmp_path, {"optimizer_state": [{"file": object()}]})


def test_gradient_of_the_toy_model_is_the_slope_of_its_loss():
    registry = toy_registry()
    definition = registry.get("toy_mini")
    model = registry.module("toy_mini", "numpy_model").build(definition)
    params, _ = model.init(np.array([1, 2]))
    batch = registry.module("toy_mini", "data").fake_batch(definition, 8, 0)
    gradient = model.gradient(params, batch)["Dense_0"]

    def mean_loss(changed):
        return float(np.mean(model.evaluate({"Dense_0": changed}, batch, None)["loss"], dtype=np.float64))

    for name, value in params["Dense_0"].items():
        for position in np.ndindex(value.shape):
            step = np.zeros(value.shape, np.float64)
            step[position] = 1e-3
            above, below = (mean_loss({**params["Dense_0"], name: value + sign * step}) for sign in (1, -1))
            assert gradient[name][position] == pytest.approx((above - below) / 2e-3, rel=1e-2, abs=1e-3)
