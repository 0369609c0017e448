"""Workload definitions: what their digest counts, variants and minis, and the errors of wrong declarations."""

import dataclasses

import pytest

from algoperf.definition import FRAMEWORKS, Budget, ConformanceSpec, Split, SplitSizes, Tier
from algoperf.digest import digest_scheme
from algoperf.registry import REGISTRY
from algoperf.testing import toy_registry
from algoperf.testing.toy_workload.definition import ToyConfig, ToyData
from reference_algorithms.common.batch_sizes import get_batch_size

TOY = toy_registry().get("toy")
KINDS = {framework: {"WEIGHT": 1, "BIAS": 1} for framework in FRAMEWORKS}
CHECKS = ConformanceSpec(parameter_count=3, parameter_kinds=KINDS, initial_loss=(0.1, 9.0))


def mini(**changes):
    values = {
        "dataset": "toy_mini",
        "validation_target": 0.1,
        "test_target": 0.2,
        "splits": SplitSizes(train=20, eval_train=4, validation=5, test=3),
        "budget": Budget(max_runtime_s=2.0, eval_period_s=0.5, step_hint=30),
        "eval_batch_size": 5,
        "reference_batch_size": 2,
        "model": ToyConfig(num_features=2),
        "data": ToyData(),
        "checks": CHECKS,
        "sources": {"targets": "here"},
    }
    return TOY.mini("A small line", **{**values, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"small_model": ToyConfig(num_features=2)},
        {"small_data": ToyData(seed=6)},
        {"parameter_count": 5},
        {"parameter_kinds": {}},
        {"initial_loss": (4.4, 6.6)},
        {"ragged_leaves": ("inputs",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_only_tests_read_is_not_in_the_digest(change):
    changed = dataclasses.replace(TOY, checks=dataclasses.replace(TOY.checks, **change))
    assert changed.checks != TOY.checks
    assert changed.digest() == TOY.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"title": "x"},
        {"sources": {}},
        {"reference_batch_size": 99},
        {"reference_hyperparameters": {"a": 1}},
        {"mini_name": None},
    ],
    ids=str,
)
def test_texts_and_what_submissions_may_choose_are_not_in_the_digest(change):
    assert dataclasses.replace(TOY, **change).digest() == TOY.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"validation_target": 0.03},
        {"test_target": None},
        {"budget": dataclasses.replace(TOY.budget, max_runtime_s=21.0)},
        {"splits": dataclasses.replace(TOY.splits, test=None)},
        {"model": ToyConfig(num_features=4)},
        {"data": ToyData(noise=0.2)},
        {"metric": dataclasses.replace(TOY.metric, name="other")},
        {"dataset": "other"},
        {"eval_batch_size": 16},
        {"default_dropout": 0.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_defines_the_task_is_in_the_digest(change):
    assert dataclasses.replace(TOY, **change).digest() != TOY.digest()


def test_a_digest_names_its_scheme():
    assert digest_scheme(TOY.digest()) == "2"
    assert digest_scheme("6ea6fe2ec80c591c") == "1"


def test_a_variant_switches_the_model_at_both_sizes():
    base = dataclasses.replace(
        TOY, checks=dataclasses.replace(CHECKS, small_model=ToyConfig(num_features=1)), sources={"parameter_count": "3"}
    )
    variant = base.variant(
        "toy_wide",
        "A wide line",
        validation_target=0.3,
        test_target=None,
        parameter_count=10,
        parameter_kinds=lambda model: {"jax": {"WEIGHT": model.num_features}},
        small_switches={"num_features": 2},
        reference_batch_size=4,
        num_features=9,
    )
    assert (variant.name, variant.base, variant.tier, variant.mini_name) == ("toy_wide", "toy", Tier.FULL, "toy_mini")
    assert (variant.model, variant.checks.small_model) == (ToyConfig(num_features=9), ToyConfig(num_features=2))
    assert (variant.checks.parameter_count, variant.checks.parameter_kinds["jax"]) == (10, {"WEIGHT": 9})
    assert (variant.reference_batch_size, variant.eval_batch_size) == (4, base.eval_batch_size)
    assert variant.sources == {}, "where the base's number comes from says nothing of the variant's"
    with pytest.raises(TypeError, match="num_fetures"):
        base.variant("toy_typo", "x", validation_target=0.3, test_target=None, num_fetures=9)


def test_a_mini_keeps_the_kind_of_task_alone():
    small = mini()
    assert (small.name, small.base, small.tier, small.mini_name) == ("toy_mini", "toy", Tier.MINI, None)
    assert (small.metric, small.loss_type, small.default_dropout) == (TOY.metric, TOY.loss_type, TOY.default_dropout)
    assert (small.title, small.sources, small.checks) == ("A small line", {"targets": "here"}, CHECKS)
    assert small.batch_size_scale == 2 / TOY.reference_batch_size
    assert mini(default_dropout=0.5).default_dropout == 0.5


@pytest.mark.parametrize("name", ["title", "checks", "sources"])
def test_a_mini_needs_declarations_of_its_own(name):
    with pytest.raises(TypeError, match=name):
        TOY.mini(**({} if name == "title" else {"title": "x"}))


def test_a_base_without_the_name_of_a_mini_has_none():
    with pytest.raises(ValueError, match="toy: set mini_name"):
        dataclasses.replace(TOY, mini_name=None).mini("x", **dict.fromkeys(MINI_ARGUMENTS))


MINI_ARGUMENTS = (
    *("dataset", "validation_target", "test_target", "splits", "budget", "eval_batch_size", "reference_batch_size"),
    *("model", "data", "checks", "sources"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameter_kinds": {"mxnet": {}}}, "keyed by jax and pytorch, got 'mxnet'"),
        ({"parameter_kinds": {"jax": {"WIEGHT": 1}}}, r"unknown parameter kinds \['WIEGHT'\]; known: WEIGHT, BIAS"),
        ({"initial_loss": (2.0, 1.0)}, "lower bound, upper bound"),
    ],
)
def test_wrong_declarations_for_the_suite(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CHECKS, **change)


def test_a_reference_batch_has_an_example():
    with pytest.raises(ValueError, match="toy: reference_batch_size must be positive, got 0"):
        dataclasses.replace(TOY, reference_batch_size=0)


def test_sizes_of_splits():
    sizes = SplitSizes(train=4, eval_train=3, validation=2, test=None)
    assert [sizes.get(split) for split in ("train", Split.EVAL_TRAIN, Split.VALIDATION)] == [4, 3, 2]
    for missing in (Split.TEST, "holdout"):
        with pytest.raises(LookupError, match=f"no split '{missing}'; this workload has train, eval_train, validation"):
            sizes.get(missing)


@pytest.mark.parametrize("definition", REGISTRY.definitions(), ids=lambda definition: definition.name)
def test_reference_algorithms_have_a_batch_size_for_every_workload(definition):
    """A submission that knows the base's size alone gets the mini's by its factor."""
    assert get_batch_size(definition.name) == definition.reference_batch_size
    if definition.tier is Tier.MINI:
        base = REGISTRY.get(definition.base)
        assert base.reference_batch_size * definition.batch_size_scale == definition.reference_batch_size
