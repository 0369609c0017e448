"""Components of workloads: their own modules, named ones, and the default for metrics."""

import sys

import numpy as np
import pytest

from algoperf.definition import Split
from algoperf.registry import REGISTRY, MissingComponentError, Registry
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
