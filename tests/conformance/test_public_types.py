"""What submissions and scripts written for AlgoPerf read from a workload, and the registry's own error."""

import dataclasses
import sys
from types import ModuleType

import numpy as np
import pytest

from algoperf.definition import Split
from algoperf.harness.evaluator import Evaluator
from algoperf.registry import DuplicateWorkloadError, Registry
from algoperf.testing import FakeBackend, toy_registry
from algoperf.testing.toy_workload import numpy_model
from algoperf.testing.toy_workload.definition import MINI


def toy_workload(definition=MINI):
    return FakeBackend().build_workload(definition, numpy_model.build(definition))


def test_a_target_is_reached_by_what_is_strictly_better():
    workload = toy_workload()
    assert workload.has_reached_validation_target({"validation/loss": 0.019})
    assert not workload.has_reached_validation_target({"validation/loss": MINI.validation_target})
    assert workload.has_reached_test_target({"test/loss": 0.019})
    assert not workload.has_reached_test_target({"test/loss": float("nan")})


def test_a_workload_without_a_test_target_has_reached_it():
    definition = dataclasses.replace(MINI, test_target=None)
    assert toy_workload(definition).has_reached_test_target({})


def test_a_workload_has_the_sizes_of_its_splits():
    workload = toy_workload()
    sizes = (workload.num_train_examples, workload.num_eval_train_examples, workload.num_validation_examples)
    assert (*sizes, workload.num_test_examples) == (200, 40, 50, 30)


def test_an_evaluation_counts_the_examples_of_all_splits_but_the_training_subset(tmp_path):
    registry, backend = toy_registry(), FakeBackend()
    data, metrics, prepare = (registry.module("toy_mini", name) for name in ("data", "metrics", "prepare"))
    prepare.prepare(MINI, tmp_path, source_dir=None, num_workers=1, report=lambda message: None)
    workload = backend.build_workload(MINI, numpy_model.build(MINI))
    evaluator = Evaluator(
        definition=MINI,
        data_module=data,
        metrics_module=metrics,
        data_dirs=dict.fromkeys(Split, tmp_path),
        backend=backend,
        workload=workload,
    )
    results = evaluator.evaluate(*workload.init_model_fn(np.array([0, 1], np.uint32)))
    counts = {name: value for name, value in results.items() if name.endswith("num_examples")}
    assert counts == {"validation/num_examples": 50, "test/num_examples": 30}


def test_a_name_that_two_packages_declare_is_refused_with_both_packages(monkeypatch):
    other = ModuleType("other_package.definition")
    other.DEFINITIONS = (MINI,)
    monkeypatch.setitem(sys.modules, "other_package", ModuleType("other_package"))
    monkeypatch.setitem(sys.modules, "other_package.definition", other)
    registry = Registry(("algoperf.testing.toy_workload", "other_package"))
    with pytest.raises(DuplicateWorkloadError, match=r"'toy_mini' .*toy_workload.*'other_package'; rename one"):
        registry.names()
