"""Resume where training changes the structure of an optimizer state, and states that no checkpoint can hold."""

import collections
import dataclasses
import json
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from algoperf.backends.base import StateMismatchError  # noqa: E402
from algoperf.backends.jax import create  # noqa: E402

pytestmark = pytest.mark.jax


class Momenta(NamedTuple):
    first: Any
    second: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Running:
    mean: Any
    count: Any
    name: str = dataclasses.field(metadata={"static": True}, default="mean")
    update: Any = dataclasses.field(metadata={"static": True}, default=None)


@pytest.fixture(scope="module")
def backend():
    return create()


def state_of(optimizer_state):
    return {"model_params": {"w": jnp.zeros(2)}, "model_state": None, "optimizer_state": optimizer_state}


def resumed(backend, folder, fresh, trained):
    """The optimizer state of a new process, which begins with `fresh`, from a checkpoint of `trained`."""
    backend.place_state(fresh)
    backend.save_state(folder, state_of(trained))
    return backend.load_state(folder, state_of(fresh))["optimizer_state"]


def assert_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert type(one) is type(other)
        if isinstance(one, (jax.Array, np.ndarray)):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)


LEAVES = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.integers(1, 3).map(lambda size: jnp.arange(size, dtype=jnp.float32)),
    st.integers(0, 3).map(lambda size: np.arange(size)),
)
TREES = st.recursive(
    st.none() | LEAVES,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.lists(below, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.text(max_size=2), below, max_size=3),
        st.dictionaries(st.integers(0, 9), below, max_size=3),
        st.dictionaries(st.tuples(st.integers(0, 3), st.text(max_size=2)), below, max_size=3),
        st.dictionaries(st.text(max_size=2), below, max_size=2).map(collections.OrderedDict),
        st.dictionaries(st.text(max_size=2), below, max_size=2).map(lambda d: collections.defaultdict(list, d)),
        st.builds(Momenta, below, below),
        st.builds(Running, below, below, st.text(max_size=3)),
    ),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(fresh=TREES, trained=TREES)
def test_any_state_becomes_any_other_and_is_resumed(backend, tmp_path_factory, fresh, trained):
    assert_equal(resumed(backend, tmp_path_factory.mktemp("state"), fresh, trained), trained)


@pytest.mark.parametrize(
    ("fresh", "trained"),
    [
        ({"average": None}, {"average": {"w": jnp.ones(2)}}),
        ({"average": {"w": jnp.ones(2)}}, {"average": None}),
        ({"history": []}, {"history": [jnp.ones(1), jnp.ones(1)]}),
        ({"losses": jnp.zeros(0)}, {"losses": jnp.ones(5)}),
        ({"count": 0}, {"count": jnp.int32(5)}),
        ({}, {"momenta": Momenta({"w": jnp.ones(2)}, None)}),
        ((1.0,), [1.0, 2.0]),
    ],
)
def test_the_structure_may_change_in_training(backend, tmp_path, fresh, trained):
    assert_equal(resumed(backend, tmp_path, fresh, trained), trained)


def test_functions_and_static_parts_come_from_the_fresh_state(backend, tmp_path):
    def update():
        pass

    fresh = {"running": Running(jnp.zeros(2), 0, "a", update), "step": update, "more": None}
    trained = {"running": Running(jnp.ones(3), 7, "b", lambda: None), "step": lambda: None, "more": jnp.ones(1)}
    back = resumed(backend, tmp_path, fresh, trained)
    assert back["running"].update is back["step"] is update
    assert back["running"].name == "b"
    np.testing.assert_array_equal(back["running"].mean, jnp.ones(3))
    np.testing.assert_array_equal(back["more"], jnp.ones(1))


def test_what_needs_a_static_part_that_the_fresh_state_lacks_is_refused(backend, tmp_path):
    trained = {"running": Running(jnp.ones(3), 7, "b", lambda: None)}
    with pytest.raises(StateMismatchError, match=r"Running in the optimizer state at .*init_optimizer_state"):
        resumed(backend, tmp_path, {}, trained)


def test_a_function_that_the_fresh_state_lacks_is_refused(backend, tmp_path):
    with pytest.raises(StateMismatchError, match=r"function at \['optimizer_state'\]\['step'\]"):
        resumed(backend, tmp_path, {}, {"step": len})


def test_a_type_that_cannot_be_imported_is_named(backend, tmp_path):
    resumed(backend, tmp_path, {}, {"momenta": Momenta(jnp.ones(1), None)})
    leaves = tmp_path / "leaves.json"
    leaves.write_text(leaves.read_text().replace("Momenta", "Moments"))
    with pytest.raises(StateMismatchError, match=r"Moments .*cannot be imported"):
        backend.load_state(tmp_path, state_of({}))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"history": [], "more": jnp.zeros(1)}, r"lacks .*\['more'\]"),
        ({}, r"has .*\['count'\].* besides"),
        ({"count": jnp.zeros(2)}, r"\['count'\] has shape \(1,\)"),
    ],
)
def test_another_submission_is_refused_even_where_the_structure_changed(backend, tmp_path, other, message):
    backend.place_state({"count": jnp.zeros(1), "history": []})
    backend.save_state(tmp_path, state_of({"count": jnp.zeros(1), "history": [jnp.ones(3)]}))
    with pytest.raises(StateMismatchError, match=message):
        backend.load_state(tmp_path, state_of(other))


def test_a_checkpoint_without_structure_is_read(backend, tmp_path):
    trained = {"momenta": Momenta({"w": jnp.ones(2)}, 5), "nothing": None}
    backend.place_state(trained)
    backend.save_state(tmp_path, state_of(trained))
    leaves = tmp_path / "leaves.json"
    leaves.write_text(json.dumps(json.loads(leaves.read_text())["leaves"]))
    fresh = {"momenta": Momenta({"w": jnp.zeros(2)}, 0), "nothing": None}
    assert_equal(backend.load_state(tmp_path, state_of(fresh))["optimizer_state"], trained)
    with pytest.raises(StateMismatchError, match="lacks"):
        backend.load_state(tmp_path, state_of({**fresh, "more": jnp.zeros(1)}))
