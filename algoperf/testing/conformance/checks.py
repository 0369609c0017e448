"""What every model must satisfy in each framework. A check raises AssertionError with what was expected and found."""

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.backends.base import load
from algoperf.definition import PYTORCH, Split
from algoperf.spec import Batch
from algoperf.testing.conformance.adapter import Outputs, State, arrays_of, map_arrays
from algoperf.testing.conformance.workload_fixture import BATCH_SIZE, WorkloadFixture

# Two passes of one program over inputs that differ in masked places only; on an accelerator, two passes of any kind.
SAME_PROGRAM_TOLERANCE = 1e-5


def initial_loss(fixture: WorkloadFixture) -> None:
    """A fresh model's training loss, the mean over five seeds, is within the declared bounds."""
    low, high = fixture.definition.checks.initial_loss
    losses = []
    for seed in range(5):
        batch = fixture.data.fake_batch(fixture.definition, BATCH_SIZE, seed)
        losses.append(fixture.adapter.training_pass(fixture.adapter.init(seed), batch).loss)
    loss = sum(losses) / len(losses)
    assert low <= loss <= high, f"mean initial loss {loss} (of {losses}) is outside the declared {(low, high)}"


def gradients(fixture: WorkloadFixture) -> None:
    """Gradients are finite, at initialisation too, and no parameter tensor is left without one."""
    fresh = fixture.adapter.training_pass(fixture.adapter.init(0), fixture.batch).gradients
    for what, actual in (("at initialisation", fresh), ("at random weights", fixture.training.gradients)):
        infinite = [name for name, gradient in actual.items() if not np.isfinite(gradient).all()]
        assert not infinite, f"gradients {what} are not finite: {infinite}"
    parameters = {name for name in fixture.weights if name.startswith("params/")}
    assert parameters == set(fixture.training.gradients)
    dead = [name for name, gradient in fixture.training.gradients.items() if not gradient.any()]
    assert not dead, f"gradients are zero everywhere for {dead}"


def loss_dict(fixture: WorkloadFixture) -> None:
    """`summed` is the sum of `per_example`, and `n_valid_examples` the sum of the weights, each loss counted once."""
    losses = fixture.training.losses
    assert {"summed", "n_valid_examples", "per_example"} <= losses.keys(), f"loss_fn gives only {sorted(losses)}"
    assert losses["summed"].shape == losses["n_valid_examples"].shape == ()
    np.testing.assert_allclose(
        losses["per_example"].sum(dtype=np.float64), losses["summed"], rtol=1e-4, err_msg="sum of losses"
    )
    if "weights" in fixture.batch and losses["per_example"].shape == fixture.batch["weights"].shape:
        np.testing.assert_allclose(
            losses["n_valid_examples"], fixture.batch["weights"].sum(), rtol=1e-6, err_msg="count"
        )


def masks(fixture: WorkloadFixture) -> None:
    """What stands in masked places changes neither the loss nor the outputs and metrics of the other examples."""
    assert "weights" in fixture.batch, "fake_batch must give weights, with the last example masked"
    weights = fixture.batch["weights"]
    real = weights.reshape(len(weights), -1).any(axis=1)
    assert not real[-1], "the last example of fake_batch must be masked"
    assert real[:-1].any(), "some example of fake_batch must count"
    other = _with_other_masked_content(fixture.batch, real)
    actual = fixture.adapter.forward_pass(fixture.state(), other)
    _assert_close(actual.loss, fixture.evaluation.loss, "loss")
    for name in ("summed", "n_valid_examples"):
        _assert_close(actual.losses[name], fixture.evaluation.losses[name], name)
    outputs = fixture.adapter.evaluate(fixture.state(), other)
    for name, value in fixture.outputs.items():
        assert len(value) == len(real), f"axis 0 of {name!r} must run over the examples, got shape {value.shape}"
        _assert_close(outputs[name][real], value[real], f"output {name!r} of the unmasked examples")
    expected, metrics = _metrics(fixture, [(fixture.outputs, fixture.batch)]), _metrics(fixture, [(outputs, other)])
    for name in expected:
        _assert_close(metrics[name], expected[name], f"metric {name!r}")


def _with_other_masked_content(batch: Batch, real: np.ndarray) -> Batch:
    """Puts the first example's content in the place of the masked ones, and other targets in masked places."""

    def replaced(array: np.ndarray) -> np.ndarray:
        if len(array) != len(real):  # packed: rows are not examples
            return array
        changed = array.copy()
        changed[~real] = array[np.flatnonzero(real)[0]]
        return changed

    weights, targets = batch["weights"], batch["targets"]
    changed = {name: map_arrays(replaced, leaf) for name, leaf in batch.items() if name != "weights"}
    if isinstance(targets, np.ndarray) and targets.shape == weights.shape:
        changed["targets"] = np.where(weights == 0, np.roll(targets, 1, axis=0), targets)
    return {**changed, "weights": weights}


def metrics(fixture: WorkloadFixture) -> None:
    """Every declared metric is computed and finite, and accumulators merge: parts together equal the whole."""
    names = {metric.name for metric in fixture.definition.metrics}
    whole = _metrics(fixture, [(fixture.outputs, fixture.batch)])
    assert names <= whole.keys(), f"declared metrics {sorted(names)}, computed {sorted(whole)}"
    infinite = {name: whole[name] for name in names if not math.isfinite(whole[name])}
    assert not infinite, f"not finite: {infinite}"
    batches = [fixture.data.fake_batch(fixture.definition, BATCH_SIZE, seed) for seed in (1, 2)]
    parts = [(fixture.adapter.evaluate(fixture.state(), batch), batch) for batch in batches]
    together = _metrics(fixture, parts)
    for order in (parts, parts[::-1]):
        first, second = (_accumulated(fixture, [part]) for part in order)
        first.merge(second)
        for name, value in first.compute().items():
            np.testing.assert_allclose(value, together[name], rtol=1e-9, err_msg=f"merged metric {name!r}")


def _metrics(fixture: WorkloadFixture, parts: list[tuple[Outputs, Batch]]) -> dict[str, float]:
    means: dict[str, float] = _accumulated(fixture, parts).compute()
    return means


def _accumulated(fixture: WorkloadFixture, parts: list[tuple[Outputs, Batch]]) -> Any:
    accumulator = fixture.metrics.make_metrics(fixture.definition, Split.VALIDATION, None)
    for outputs, batch in parts:
        accumulator.update(outputs, batch)
    return accumulator


def modes(fixture: WorkloadFixture) -> None:
    """Evaluation repeats itself and ignores dropout; training drops; running statistics move only when asked to."""
    adapter, before = fixture.adapter, fixture.weights
    again = adapter.forward_pass(fixture.state(), fixture.batch, dropout_rate=0.5, seed=1)
    for expected, actual in zip(fixture.evaluation.logits, again.logits, strict=True):
        _assert_repeated(fixture, actual, expected, "evaluation twice, with and without a dropout rate")
    if fixture.definition.default_dropout is not None:
        dropped = adapter.training_pass(fixture.state(), fixture.batch, dropout_rate=0.5)
        plain = fixture.training.logits
        assert any((a != b).any() for a, b in zip(plain, dropped.logits, strict=True)), "a dropout rate changes nothing"
    statistics = {name for name in before if not name.startswith("params/")}
    if not statistics:
        return
    retained = adapter.forward_pass(fixture.state(), fixture.batch, train=True, update_batch_norm=False)
    for name in statistics:
        np.testing.assert_array_equal(fixture.evaluation.weights[name], before[name], err_msg=f"{name} in evaluation")
        np.testing.assert_array_equal(retained.weights[name], before[name], err_msg=f"{name} without update_batch_norm")
        assert (fixture.training.weights[name] != before[name]).any(), f"{name} did not move in training"
    for expected, actual in zip(fixture.training.logits, retained.logits, strict=True):
        _assert_close(actual, expected, "training logits with and without update_batch_norm")


def round_trip(fixture: WorkloadFixture) -> None:
    """Exported weights come back exactly, into a model that was initialised differently."""
    restored = fixture.adapter.import_weights(fixture.weights, seed=9)
    exported = fixture.adapter.export_weights(restored)
    assert exported.keys() == fixture.weights.keys()
    for name, value in exported.items():
        np.testing.assert_array_equal(value, fixture.weights[name], err_msg=name)
    actual = fixture.adapter.forward_pass(restored, fixture.batch)
    for expected, logits in zip(fixture.evaluation.logits, actual.logits, strict=True):
        _assert_repeated(fixture, logits, expected, "logits after importing")


def resumed_training(fixture: WorkloadFixture) -> None:
    """A checkpoint gives the state back exactly, and the next step is what it would have been: bitwise on a CPU."""
    backend = load(fixture.framework)
    state = fixture.state()
    with tempfile.TemporaryDirectory() as directory:
        backend.save_state(Path(directory), _as_checkpoint(state))
        restored = backend.load_state(Path(directory), _as_checkpoint(fixture.adapter.init(9)))
    resumed = fixture.adapter.training_pass(State(restored["model_params"], restored["model_state"]), fixture.batch)
    for what, actual, expected in (
        ("weights", resumed.weights, fixture.training.weights),
        ("gradient", resumed.gradients, fixture.training.gradients),
    ):
        assert actual.keys() == expected.keys()
        for name, value in actual.items():
            _assert_repeated(fixture, value, expected[name], f"{what} {name} after resuming")


def _as_checkpoint(state: State) -> dict[str, Any]:
    return {"model_params": state.params, "model_state": state.model_state, "optimizer_state": {"step": 1}}


def initialisation(fixture: WorkloadFixture) -> None:
    """The same seed gives the same parameters, another seed other ones."""
    first, again, other = (fixture.adapter.export_weights(fixture.adapter.init(seed)) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    assert any((first[name] != other[name]).any() for name in first), "two seeds give the same parameters"


def parameter_count(fixture: WorkloadFixture) -> None:
    """The declared model, at its full size, has the declared number of parameters."""
    shapes = arrays_of(fixture.declared_workload.param_shapes)
    count = sum(math.prod(shape.shape_tuple) for shape in shapes)
    declared = fixture.declared.checks.parameter_count
    assert count == declared, f"{count} parameters in {len(shapes)} tensors, declared {declared}"


def parameter_kinds(fixture: WorkloadFixture) -> None:
    """Every parameter of the declared model has a shape and a kind, and the kinds are as declared."""
    declared = fixture.declared.checks.parameter_kinds.get(fixture.framework)
    assert declared is not None, f"parameter_kinds does not say anything about {fixture.framework}"
    workload = fixture.declared_workload
    names = [map_arrays(lambda leaf: None, tree) for tree in (workload.param_shapes, workload.model_params_types)]
    assert names[0] == names[1], "param_shapes and model_params_types name different parameters"
    actual = Counter(kind.name for kind in arrays_of(workload.model_params_types))
    assert actual == Counter(declared), f"parameter kinds {dict(actual)}, declared {dict(declared)}"


def output_parameters(fixture: WorkloadFixture) -> None:
    """The model names its output layer, and not everything."""
    answers = fixture.adapter.is_output_parameter()
    assert any(answers.values()), f"is_output_params is False for all of {sorted(answers)}"
    single = len(answers) == 1 or (fixture.framework == PYTORCH.name and len(answers) <= 2)
    assert single or not all(answers.values()), f"is_output_params is True for all of {sorted(answers)}"


def _assert_repeated(fixture: WorkloadFixture, actual: object, expected: object, what: str) -> None:
    """Bitwise on a CPU; on an accelerator some kernels add in the order in which threads happen to end."""
    if fixture.adapter.platform == "cpu":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
    else:
        _assert_close(actual, expected, what)


def _assert_close(actual: object, expected: object, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SAME_PROGRAM_TOLERANCE * scale, err_msg=what)


FRAMEWORK_CHECKS = (
    initial_loss,
    gradients,
    loss_dict,
    masks,
    metrics,
    modes,
    round_trip,
    resumed_training,
    initialisation,
    parameter_count,
    parameter_kinds,
    output_parameters,
)
