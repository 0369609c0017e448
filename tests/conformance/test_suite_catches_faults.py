"""The conformance suite finds faults: a toy workload is broken in one way at a time, and the right check fails."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from algoperf.metrics import WeightedMeans
from algoperf.registry import Registry
from algoperf.testing import toy_registry
from algoperf.testing.conformance import checks, parity, prepared
from algoperf.testing.conformance.workload_fixture import WorkloadFixture
from algoperf.testing.toy_workload.definition import ToyConfig

pytestmark = [pytest.mark.torch]


class BrokenRegistry(Registry):
    """The toy registry with parts replaced: `definition` fields, or functions of the modules."""

    def __init__(self, definition=None, **parts) -> None:
        super().__init__(("algoperf.testing.toy_workload",))
        self._changes = definition or {}
        self._parts = parts

    def get(self, name):
        return dataclasses.replace(super().get(name), **self._changes)

    def module(self, name, part):
        module = super().module(name, part)
        if part not in self._parts:
            return module
        return SimpleNamespace(**{**vars(module), **self._parts[part]})


def declared(**checks) -> dict:
    """A change of what the definition declares for the suite."""
    return {"checks": dataclasses.replace(toy_registry().get("toy_mini").checks, **checks)}


def broken_model(framework_module: str, definition: dict | None = None, **methods: Callable) -> BrokenRegistry:
    """Replaces methods of the model; each is called with the original bound method and its arguments."""
    original = toy_registry().module("toy_mini", framework_module)

    def build(definition_):
        model = original.build(definition_)
        for name, method in methods.items():
            setattr(model, name, _bound(method, getattr(model, name)))
        return model

    return BrokenRegistry(definition, **{framework_module: {"build": build}})


def _bound(method, original):
    return lambda *args, **kwargs: method(original, *args, **kwargs)


def fails(check, registry, match, framework="pytorch"):
    check(WorkloadFixture(toy_registry(), "toy_mini", framework))
    with pytest.raises(AssertionError, match=match):
        check(WorkloadFixture(registry, "toy_mini", framework))


def test_initial_loss():
    fails(checks.initial_loss, BrokenRegistry(declared(initial_loss=(1e6, 2e6))), "outside the declared")

    def not_finite(original, *args):
        losses = original(*args)
        return {**losses, "summed": losses["summed"] * float("nan")}

    fails(checks.initial_loss, broken_model("torch_model", loss=not_finite), "outside the declared")


def test_parameters_without_gradient():
    def bias_is_detached(original, params, batch, model_state, **options):
        layer = params.dense
        return (batch["inputs"] @ layer.weight.T + layer.bias.detach())[:, 0], model_state

    fails(checks.gradients, broken_model("torch_model", forward=bias_is_detached), "params/Dense_0/bias")


def test_gradients_that_are_not_finite():
    def infinite(original, *args):
        losses = original(*args)
        return {**losses, "summed": losses["summed"] / 0.0}

    fails(checks.gradients, broken_model("torch_model", loss=infinite), "not finite")


def test_losses_that_do_not_add_up():
    def wrong_count(original, labels, logits, weights, smoothing):
        losses = original(labels, logits, weights, smoothing)
        return {**losses, "n_valid_examples": losses["n_valid_examples"] * 0 + len(labels)}

    def wrong_sum(original, *args):
        losses = original(*args)
        return {**losses, "per_example": 2 * losses["per_example"]}

    fails(checks.loss_dict, broken_model("torch_model", loss=wrong_count), "count")
    fails(checks.loss_dict, broken_model("torch_model", loss=wrong_sum), "sum of losses")


def test_masked_examples_that_count():
    def unmasked(original, labels, logits, weights, smoothing):
        return original(labels, logits, None, smoothing)

    fails(checks.masks, broken_model("torch_model", loss=unmasked), "loss")


def test_examples_that_see_each_other():
    def centred(original, params, batch, model_state):
        return original(params, {**batch, "inputs": batch["inputs"] - batch["inputs"].mean(0)}, model_state)

    fails(checks.masks, broken_model("torch_model", evaluate=centred), "output 'loss'")


def test_metrics_that_count_masked_examples():
    class Careless:
        def __init__(self):
            self.values = []

        def update(self, outputs, batch):
            self.values.extend(outputs["loss"])

        def merge(self, other):
            self.values.extend(other.values)

        def compute(self):
            return {"loss": float(np.mean(self.values))}

    registry = BrokenRegistry(metrics={"make_metrics": lambda *args: Careless()})
    fails(checks.masks, registry, "metric 'loss'")


def test_metrics_that_do_not_merge():
    original = toy_registry().module("toy_mini", "metrics").make_metrics

    def forgetful(*args):
        metrics = original(*args)
        metrics.merge = lambda other: None
        return metrics

    fails(checks.metrics, BrokenRegistry(metrics={"make_metrics": forgetful}), "merged metric")


def test_metrics_that_are_missing():
    metric = dataclasses.replace(toy_registry().get("toy_mini").metric, name="accuracy")
    only_loss = {"make_metrics": lambda *args: WeightedMeans(("loss",))}
    fails(checks.metrics, BrokenRegistry({"metric": metric}, metrics=only_loss), "declared metrics")
    with pytest.raises(ValueError, match=r"must return \['accuracy'\], got \['loss'\]"):
        checks.metrics(WorkloadFixture(BrokenRegistry({"metric": metric}), "toy_mini", "pytorch"))


def test_evaluation_that_is_random():
    import torch

    def noisy(original, params, batch, model_state, **options):
        logits, model_state = original(params, batch, model_state, **options)
        return logits + torch.rand(()), model_state

    fails(checks.modes, broken_model("torch_model", forward=noisy), "evaluation twice")


def test_dropout_that_is_ignored():
    def without_dropout(original, params, batch, model_state, **options):
        return params(batch["inputs"]), model_state

    registry = broken_model("torch_model", {"default_dropout": 0.1}, forward=without_dropout)
    fails(checks.modes, registry, "a dropout rate changes nothing")


def test_weights_that_do_not_come_back():
    def only_the_kernel(original, weights, params, model_state):
        return original({**weights, "params/Dense_0/bias": np.zeros(1, np.float32)}, params, model_state)

    fails(checks.round_trip, broken_model("torch_model", import_weights=only_the_kernel), "params/Dense_0/bias")


def test_state_outside_the_checkpoint():
    def doubled_unless_marked(original, params, batch, model_state, **options):
        logits, model_state = original(params, batch, model_state, **options)
        return logits * (1.0 if params.marked else 2.0), model_state

    def marks(original, weights, params, model_state):
        params, model_state = original(weights, params, model_state)
        params.marked = True
        return params, model_state

    def unmarked(original, rng):
        params, model_state = original(rng)
        params.marked = False
        return params, model_state

    registry = broken_model("torch_model", forward=doubled_unless_marked, import_weights=marks, init=unmarked)
    fails(checks.resumed_training, registry, "after resuming")


def test_initialisation_without_or_against_the_seed():
    import torch

    def constant(original, rng):
        torch.manual_seed(0)
        return original(rng)

    def fresh(original, rng):
        torch.seed()
        return original(rng)

    fails(checks.initialisation, broken_model("torch_model", init=constant), "two seeds")
    fails(checks.initialisation, broken_model("torch_model", init=fresh), "params/Dense_0/kernel")


def test_wrong_declarations():
    fails(checks.parameter_count, BrokenRegistry(declared(parameter_count=5)), "4 parameters in 2 tensors, declared 5")
    fails(checks.parameter_kinds, BrokenRegistry(declared(parameter_kinds={"pytorch": {"WEIGHT": 2}})), "declared")
    fails(checks.parameter_kinds, BrokenRegistry(declared(parameter_kinds={"jax": {"WEIGHT": 2}})), "pytorch")
    fails(
        checks.output_parameters,
        broken_model("torch_model", is_output_params=lambda original, name: False),
        "is False for all",
    )


@pytest.mark.jax
def test_frameworks_that_disagree():
    def slightly_larger(original, params, batch, model_state, **options):
        logits, model_state = original(params, batch, model_state, **options)
        return logits * 1.002, model_state

    def wider(original, rng):
        params, model_state = original(rng)
        params.dense.weight.data *= 3
        return params, model_state

    def renamed(original, params, model_state):
        return {name.replace("Dense", "Linear"): array for name, array in original(params, model_state).items()}

    def gradient_flows_twice(original, params, batch, model_state, **options):
        logits, model_state = original(params, batch, model_state, **options)
        return 2 * logits - logits.detach(), model_state

    larger = {"model": ToyConfig(num_features=50)}
    jax = WorkloadFixture(BrokenRegistry(larger), "toy_mini", "jax")

    def compare(check, registry):
        check(jax, WorkloadFixture(registry, "toy_mini", "pytorch"))

    for check in parity.PARITY_CHECKS:
        compare(check, BrokenRegistry(larger))
    for check, fault, match in (
        (parity.same_evaluation, {"forward": slightly_larger}, "logits"),
        (parity.same_training, {"forward": slightly_larger}, "logits"),
        (parity.same_training, {"forward": gradient_flows_twice}, "gradient norm"),
        (parity.same_weights, {"export_weights": renamed}, "Linear_0"),
        (parity.same_initial_distribution, {"init": wider}, "standard deviations of params/Dense_0/kernel"),
    ):
        with pytest.raises(AssertionError, match=match):
            compare(check, broken_model("torch_model", larger, **fault))


def test_fake_batches_of_another_shape(tmp_path):
    original = toy_registry().module("toy_mini", "data").fake_batch

    def more_features(definition, batch_size, seed):
        model = dataclasses.replace(definition.model, num_features=definition.model.num_features + 5)
        return original(dataclasses.replace(definition, model=model), batch_size, seed)

    def another_axis(definition, batch_size, seed):
        batch = original(definition, batch_size, seed)
        return {**batch, "inputs": batch["inputs"][..., None]}

    ragged = declared(ragged_leaves=("inputs",))
    for definition, fake_batch in ((None, more_features), (None, another_axis), (ragged, another_axis)):
        with pytest.raises(AssertionError, match=r"fake_batch differ in \{'inputs'\}"):
            prepared.prepared_data(BrokenRegistry(definition, data={"fake_batch": fake_batch}), "toy_mini", tmp_path)
    prepared.prepared_data(BrokenRegistry(ragged, data={"fake_batch": more_features}), "toy_mini", tmp_path)


def test_prepared_data(tmp_path):
    original = toy_registry().module("toy_mini", "data")
    prepared.prepared_data(toy_registry(), "toy_mini", tmp_path)

    def changed(change):
        def open_split(definition, split, data_dir):
            source = original.open_split(definition, split, data_dir)
            read = source.read
            source.read = lambda request: change(read(request), request)
            return source

        return BrokenRegistry(data={"open_split": open_split})

    def drop_last(batch, request):
        if request.seed is None:
            batch["weights"][len(request.indices) - 1] = 0
        return batch

    def other_dtype(batch, request):
        return {**batch, "targets": batch["targets"].astype(np.float64)}

    def random(batch, request):
        return {**batch, "inputs": batch["inputs"] + np.random.default_rng().normal()}

    for registry, match in (
        (changed(drop_last), "examples with weight"),
        (changed(other_dtype), "fake_batch differ"),
        (changed(random), "read twice"),
    ):
        with pytest.raises(AssertionError, match=match):
            prepared.prepared_data(registry, "toy_mini", tmp_path)
