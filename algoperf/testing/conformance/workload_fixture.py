"""One workload in one framework, with what several checks need computed once."""

import functools
from types import ModuleType

import numpy as np

from algoperf import spec
from algoperf.backends.base import Weights, model_module
from algoperf.definition import WorkloadDefinition
from algoperf.registry import Registry
from algoperf.spec import Batch
from algoperf.testing.conformance.adapter import FrameworkAdapter, Outputs, Pass, State, load_adapter

BATCH_SIZE = 4
_BATCH_SEED = 11
_PERTURBATION = 0.05


class WorkloadFixture:
    """A workload at test size (`definition.shrunk()`) on one random batch whose last example is padding.

    Attributes:
      definition: at test size.
      declared: as registered.
    """

    def __init__(self, registry: Registry, name: str, framework: str) -> None:
        self.framework = framework
        self.declared: WorkloadDefinition = registry.get(name)
        self.definition = self.declared.shrunk()
        self.data: ModuleType = registry.module(name, "data")
        self.metrics: ModuleType = registry.module(name, "metrics")
        self.model: ModuleType = registry.module(name, model_module(framework))

    @functools.cached_property
    def adapter(self) -> FrameworkAdapter:
        return load_adapter(self.framework, self.model.build(self.definition))

    @functools.cached_property
    def declared_workload(self) -> spec.Workload:
        """What a submission sees of the model at its full size; no memory is taken for parameters."""
        return self.adapter.workload(self.declared, self.model)

    @functools.cached_property
    def batch(self) -> Batch:
        batch: Batch = self.data.fake_batch(self.definition, BATCH_SIZE, _BATCH_SEED)
        return batch

    @functools.cached_property
    def weights(self) -> Weights:
        """Weights away from the special values of an initialisation (zeros, ones)."""
        return perturbed(self.adapter.export_weights(self.adapter.init(3)), seed=5)

    def state(self) -> State:
        """A new state with `weights`."""
        return self.adapter.import_weights(self.weights)

    @functools.cached_property
    def training(self) -> Pass:
        """Training pass at `weights`, without dropout."""
        return self.adapter.training_pass(self.state(), self.batch)

    @functools.cached_property
    def evaluation(self) -> Pass:
        """Forward pass in evaluation mode at `weights`."""
        return self.adapter.forward_pass(self.state(), self.batch)

    @functools.cached_property
    def outputs(self) -> Outputs:
        """What `Model.evaluate` gives at `weights`."""
        return self.adapter.evaluate(self.state(), self.batch)


def perturbed(weights: Weights, seed: int) -> Weights:
    """Adds noise to every parameter, and moves running statistics to values that a trained model may have."""
    generator = np.random.default_rng(seed)
    moved = {}
    for name, array in sorted(weights.items()):
        if not np.issubdtype(array.dtype, np.floating):
            moved[name] = array
        elif name.startswith("params/"):
            moved[name] = (array + _PERTURBATION * generator.normal(size=array.shape)).astype(array.dtype)
        elif name.endswith("/var"):
            moved[name] = generator.uniform(0.5, 1.5, array.shape).astype(array.dtype)
        else:
            moved[name] = (0.1 * generator.normal(size=array.shape)).astype(array.dtype)
    return moved


@functools.lru_cache(maxsize=3)
def workload_fixture(registry: Registry, name: str, framework: str) -> WorkloadFixture:
    """Returns the fixture, the same one while the suite stays with one workload."""
    return WorkloadFixture(registry, name, framework)
