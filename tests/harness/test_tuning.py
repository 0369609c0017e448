import json
import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.submissions.tuning import SearchSpace, SearchSpaceError, halton, make_hyperparameters

RANGES = {
    "learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
    "dropout_rate": {"min": -1, "max": 3, "scaling": "linear"},
    "warmup": {"feasible_points": [0.02, "none", None]},
}
# The point set of AlgoPerf v0.6 before its unseeded shuffle.
REFERENCE_2D = [(0.27397443727, 0.28612427728), (0.99116670583, 0.83001933278), (0.23023079535, 0.36079632572)]
REFERENCE_7D = [0.648493533, 0.756572292, 0.364141526, 0.691447593, 0.137146070, 0.273974437, 0.286124277]


def test_points_are_those_of_algoperf():
    np.testing.assert_allclose(halton(3, 2), REFERENCE_2D, atol=1e-11)
    np.testing.assert_allclose(halton(1, 7), [REFERENCE_7D], atol=1e-9)


@given(num_dimensions=st.integers(1, 5), start=st.integers(0, 10**6), skip=st.integers(0, 20))
def test_any_stretch_of_the_sequence_can_be_computed_alone(num_dimensions, start, skip):
    whole = halton(skip + 3, num_dimensions, start=start)
    np.testing.assert_array_equal(whole[skip:], halton(3, num_dimensions, start=start + skip))
    assert ((whole >= 0) & (whole < 1)).all()


def test_points_cover_each_dimension_evenly():
    for column in halton(1000, 4).T:
        counts, _ = np.histogram(column, bins=20, range=(0, 1))
        assert counts.min() > 35
        assert counts.max() < 65


def test_more_dimensions_than_primes_below_a_thousand():
    points = halton(4, 200)
    assert points.shape == (4, 200)
    assert len(np.unique(points[0])) == 200


def test_values_map_the_points():
    space = SearchSpace.parse({name: RANGES[name] for name in ("learning_rate", "dropout_rate")})
    for point, (u, v) in zip(space.draw(3), REFERENCE_2D, strict=True):
        assert point.learning_rate == pytest.approx(1e-4 * 100**u, rel=1e-9)
        assert point.dropout_rate == pytest.approx(-1 + 4 * v, rel=1e-9)
    assert {p.warmup for p in SearchSpace.parse(RANGES).draw(30)} == {0.02, "none", None}


@given(trials=st.integers(1, 20), more=st.integers(0, 20), study=st.integers(0, 50))
def test_more_trials_keep_the_first_ones_and_leave_global_generators_alone(trials, more, study):
    space = SearchSpace.parse(RANGES)
    before = random.getstate(), np.random.get_state()[1].tolist()
    few, many = space.draw(trials, study=study), space.draw(trials + more, study=study)
    assert few == many[:trials]
    assert before == (random.getstate(), np.random.get_state()[1].tolist())
    for point in many:
        assert 1e-4 <= point.learning_rate <= 1e-2
        assert -1 <= point.dropout_rate <= 3


def test_studies_have_points_of_their_own():
    space = SearchSpace.parse(RANGES)
    draws = [space.draw(200, study=study) for study in range(5)]
    assert len({point.learning_rate for draw in draws for point in draw}) == 200 * len(draws)
    assert space.draw(3, study=4) == space.draw(3, study=4)


def test_a_list_is_used_in_order_whatever_the_study(tmp_path):
    points = [
        {"learning_rate": 0.1, "layers": [1, 2]},
        {"layers": [3], "learning_rate": 0.2},
        {"learning_rate": 1, "layers": []},
    ]
    file = tmp_path / "space.json"
    file.write_text(json.dumps(points))
    space = SearchSpace.load(file)
    drawn = space.draw(2, study=3)
    assert [p.to_dict() for p in drawn] == points[:2]
    assert list(drawn[1].to_dict()) == ["learning_rate", "layers"] == list(space.names)
    with pytest.raises(SearchSpaceError, match="4 trials asked for, but the list has 3 points"):
        space.draw(4)


def test_hyperparameters_behave_like_a_named_tuple():
    point = make_hyperparameters({"learning_rate": 0.1, "beta2": 0.99})
    assert point.learning_rate == 0.1
    assert hasattr(point, "beta2")
    assert not hasattr(point, "label_smoothing")
    assert getattr(point, "label_smoothing", 0.0) == 0.0
    assert point._asdict() == point.to_dict() == {"learning_rate": 0.1, "beta2": 0.99}
    assert point._fields == ("learning_rate", "beta2")
    assert tuple(point) == (0.1, 0.99)
    assert str(point) == "Hyperparameters(learning_rate=0.1, beta2=0.99)"
    assert hash(point) == hash(point._replace())
    with pytest.raises(AttributeError):
        point.learning_rate = 1
    copy = pickle.loads(pickle.dumps(point))
    assert copy == point
    assert type(copy) is type(point)


@pytest.mark.jax
def test_hyperparameters_are_a_jax_pytree():
    jax = pytest.importorskip("jax")
    first, second = make_hyperparameters({"a": 1.0, "b": 2.0}), make_hyperparameters({"a": 3.0, "b": 4.0})
    assert jax.tree_util.tree_structure(first) == jax.tree_util.tree_structure(second)
    assert jax.tree_util.tree_map(lambda x: x + 1, first) == make_hyperparameters({"a": 2.0, "b": 3.0})


def ranged(**changes):
    return {"lr": {"min": 1, "max": 2, "scaling": "log", **changes}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not JSON: Expecting property name"),
        pytest.param("[" * 100_000, "is not JSON: maximum recursion depth", id="deep"),
        pytest.param('[{"lr": ' + "1" * 5_000 + "}]", "is not JSON: Exceeds the limit", id="digits"),
        pytest.param(ranged(max=10**400), "'lr': max must be a finite number, got 1000", id="large"),
        ("3", "expected a JSON object (ranges) or a list of objects (points), got 3"),
        ('"lr"', "expected a JSON object"),
        ({}, "the object is empty"),
        ([], "the list is empty"),
        ('{"lr": 1, "lr": 2}', "key 'lr' appears twice"),
        (ranged(min=3), "'lr': min must not exceed max, got min 3 and max 2"),
        (ranged(min=0), "'lr': log scaling needs min > 0, got 0"),
        (ranged(scaling="exponential"), '\'lr\': scaling must be "linear" or "log", got "exponential"'),
        (ranged(scaling=None), "scaling must be"),
        (ranged(min="1e-3"), "'lr': min must be a finite number, got \"1e-3\""),
        (ranged(max=True), "'lr': max must be a finite number, got true"),
        (ranged(max=float("nan")), "'lr': max must be a finite number"),
        (ranged(step=1), "unknown: step"),
        ({"lr": {"min": 1, "max": 2}}, "missing: scaling"),
        ({"lr": 0.1}, "'lr' must be an object with"),
        ({"lr": {"feasible_points": []}}, "'lr': feasible_points is empty"),
        ({"lr": {"feasible_points": 0.1}}, "'lr': feasible_points must be a list, got 0.1; write [0.1]"),
        ({"lr": {"feasible_points": [1], "min": 0}}, "unknown: min"),
        ({"learning rate": ranged()["lr"]}, "'learning rate' cannot be an attribute"),
        ([{"_lr": 1}], "'_lr' cannot be an attribute"),
        ([{"lambda": 1}], "'lambda' cannot be an attribute"),
        ([{"lr": 1}, {"lr": 1, "b": 2}], "entry 1 of the list must have the keys of entry 0; extra: b"),
        ([{"lr": 1, "b": 1}, {"lr": 1}], "missing: b"),
        ('{"lr": {"feasible_points": [1, NaN]}}', "'lr': feasible_points must be finite, got nan"),
        ('[{"lr": -Infinity}]', "entry 0 of the list: 'lr' must be finite, got -inf"),
        ('[{"lr": 1}, {"lr": 1e999}]', "entry 1 of the list: 'lr' must be finite, got inf"),
        ('{"lr": {"feasible_points": [[0.9, -1e999]]}}', "'lr': feasible_points must be finite, got -inf"),
        ('[{"lr": {"deep": [1e999]}}]', "entry 0 of the list: 'lr' must be finite, got inf"),
        ([{"lr": 1}, 3], "entry 1 of the list must be an object of hyperparameters, got 3"),
    ],
)
def test_a_malformed_space_names_the_key_and_the_reason(tmp_path, content, expected):
    file = tmp_path / "space.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SearchSpaceError) as raised:
        SearchSpace.load(file)
    assert expected in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SearchSpaceError, match=r"absent.json cannot be read: No such file"):
        SearchSpace.load(tmp_path / "absent.json")


@pytest.mark.parametrize("arguments", [{"num_trials": 0}, {"num_trials": 1, "study": -1}, {"num_trials": 10**6}])
def test_impossible_draws_are_refused(arguments):
    with pytest.raises(SearchSpaceError):
        SearchSpace.parse(RANGES).draw(**arguments)
