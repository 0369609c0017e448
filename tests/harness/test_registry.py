"""Components of workloads: their own modules, named ones, and the default for metrics."""

import sys

import numpy as np
import pytest

from algoperf.definition import Split
from algoperf.errors import UserError
from algoperf.registry import REGISTRY, MissingComponentError, Registry, UnknownWorkloadError
from algoperf.testing import toy_registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of a package with the toy's definitions, `COMPONENTS` as given, and modules that are written to it."""
    name = "registry_test_workload"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()

    def write(components: dict[str, str], **modules: str) -> str:
        source = "from algoperf.testing.toy_workload.definition import DEFINITIONS\n"
        (folder / "definition.py").write_text(f"{source}COMPONENTS = {components!r}\n")
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def test_every_component_of_every_workload_exists():
    for definition in REGISTRY.definitions():
        for component in ("data", "prepare", "metrics"):
            assert REGISTRY.module(definition.name, component)


def test_a_named_module_stands_in_for_an_own_one(package):
    registry = Registry((package({"data": "algoperf.testing.toy_workload.data"}, prepare="OWN = True"),))
    assert registry.module("toy", "data").__name__ == "algoperf.testing.toy_workload.data"
    assert registry.module("toy", "prepare").OWN


def test_declared_metrics_are_means_of_outputs_unless_the_workload_says_otherwise(package):
    definition = toy_registry().get("toy_mini")
    metrics = toy_registry().module("toy_mini", "metrics").make_metrics(definition, Split.TEST, None)
    metrics.update({"loss": np.array([1.0, 3.0, 99.0])}, {"weights": np.array([1, 1, 0])})
    assert metrics.compute() == {"loss": 2.0}
    assert Registry((package({}, metrics="OWN = True"),)).module("toy", "metrics").OWN


def test_a_missing_component_names_the_module_and_what_to_do(package):
    registry = Registry((package({"prepare": "no_such_package.prepare", "metrics": "no_such_metrics"}),))
    for component, module in (
        ("data", "registry_test_workload.data"),
        ("prepare", "no_such_package.prepare"),
        ("metrics", "no_such_metrics"),
    ):
        with pytest.raises(MissingComponentError, match=f"'toy' needs the module {module}, .* COMPONENTS of registry_"):
            registry.module("toy", component)


def test_a_package_that_a_component_lacks_is_named_as_it_is(package):
    registry = Registry((package({}, data="import no_such_dependency"),))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        registry.module("toy", "data")


def test_a_workload_at_a_longer_horizon_is_found_by_its_name_with_targets_of_its_own():
    registry = toy_registry().altered({"toy_mini": {"horizons": {3: (0.05, None)}}})
    plain, longer = registry.get("toy_mini"), registry.get("toy_mini_horizon3")
    assert longer == plain.at_horizon(3)
    assert (longer.name, longer.validation_target, longer.test_target) == ("toy_mini_horizon3", 0.05, None)
    assert (longer.dataset, longer.model, longer.base) == (plain.dataset, plain.model, plain.base)
    assert longer.budget.step_hint == 3 * plain.budget.step_hint
    assert longer.budget.max_runtime_s == 3 * plain.budget.max_runtime_s
    assert longer.digest() != plain.digest() == toy_registry().get("toy_mini").digest()
    assert registry.module("toy_mini_horizon3", "data") is registry.module("toy_mini", "data")
    assert "toy_mini_horizon3" not in registry.names()
    with pytest.raises(UserError, match="toy_mini: targets are kept for a horizon of 1, 3, got 2"):
        registry.get("toy_mini_horizon2")
    with pytest.raises(UnknownWorkloadError, match="unknown workload 'tov_mini'; did you mean toy_mini"):
        registry.get("tov_mini_horizon3")
