"""What every model must satisfy in each framework. A check raises AssertionError with what was expected and found."""

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.backends.base import load
from algoperf.data.source import Batch
from algoperf.definition import Split
from algoperf.testing.conformance.probe import Outputs, State, arrays_of, map_arrays
from algoperf.testing.conformance.subject import BATCH_SIZE, Subject

# Two passes of one program over inputs that differ in masked places only.
SAME_PROGRAM_TOLERANCE = 1e-5


def initial_loss(subject: Subject) -> None:
    """A fresh model's training loss, the mean over five seeds, is within the declared bounds."""
    low, high = subject.definition.initial_loss
    losses = []
    for seed in range(5):
        batch = subject.data.fake_batch(subject.definition, BATCH_SIZE, seed)
        losses.append(subject.probe.training_pass(subject.probe.init(seed), batch).loss)
    loss = sum(losses) / len(losses)
    assert low <= loss <= high, f"mean initial loss {loss} (of {losses}) is outside the declared {(low, high)}"


def gradients(subject: Subject) -> None:
    """Gradients are finite, at initialisation too, and no parameter tensor is left without one."""
    fresh = subject.probe.training_pass(subject.probe.init(0), subject.batch).gradients
    for what, found in (("at initialisation", fresh), ("at random weights", subject.training.gradients)):
        infinite = [name for name, gradient in found.items() if not np.isfinite(gradient).all()]
        assert not infinite, f"gradients {what} are not finite: {infinite}"
    parameters = {name for name in subject.weights if name.startswith("params/")}
    assert parameters == set(subject.training.gradients)
    dead = [name for name, gradient in subject.training.gradients.items() if not gradient.any()]
    assert not dead, f"gradients are zero everywhere for {dead}"


def loss_dict(subject: Subject) -> None:
    """`summed` is the sum of `per_example`, and `n_valid_examples` the sum of the weights, each loss counted once."""
    losses = subject.training.losses
    assert {"summed", "n_valid_examples", "per_example"} <= losses.keys(), f"loss_fn gives only {sorted(losses)}"
    assert losses["summed"].shape == losses["n_valid_examples"].shape == ()
    np.testing.assert_allclose(
        losses["per_example"].sum(dtype=np.float64), losses["summed"], rtol=1e-4, err_msg="sum of losses"
    )
    if "weights" in subject.batch and losses["per_example"].shape == subject.batch["weights"].shape:
        np.testing.assert_allclose(
            losses["n_valid_examples"], subject.batch["weights"].sum(), rtol=1e-6, err_msg="count"
        )


def masks(subject: Subject) -> None:
    """What stands in masked places changes neither the loss nor the outputs and metrics of the other examples."""
    assert "weights" in subject.batch, "fake_batch must give weights, with the last example masked"
    weights = subject.batch["weights"]
    real = weights.reshape(len(weights), -1).any(axis=1)
    assert not real[-1], "the last example of fake_batch must be masked"
    assert real[:-1].any(), "some example of fake_batch must count"
    other = _with_other_masked_content(subject.batch, real)
    found = subject.probe.forward_pass(subject.state(), other)
    _assert_close(found.loss, subject.evaluation.loss, "loss")
    for name in ("summed", "n_valid_examples"):
        _assert_close(found.losses[name], subject.evaluation.losses[name], name)
    outputs = subject.probe.evaluate(subject.state(), other)
    for name, value in subject.outputs.items():
        assert len(value) == len(real), f"axis 0 of {name!r} must run over the examples, got shape {value.shape}"
        _assert_close(outputs[name][real], value[real], f"output {name!r} of the unmasked examples")
    expected, metrics = _metrics(subject, [(subject.outputs, subject.batch)]), _metrics(subject, [(outputs, other)])
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


def metrics(subject: Subject) -> None:
    """Every declared metric is computed and finite, and accumulators merge: parts together equal the whole."""
    names = {metric.name for metric in subject.definition.metrics}
    whole = _metrics(subject, [(subject.outputs, subject.batch)])
    assert names <= whole.keys(), f"declared metrics {sorted(names)}, computed {sorted(whole)}"
    infinite = {name: whole[name] for name in names if not math.isfinite(whole[name])}
    assert not infinite, f"not finite: {infinite}"
    batches = [subject.data.fake_batch(subject.definition, BATCH_SIZE, seed) for seed in (1, 2)]
    parts = [(subject.probe.evaluate(subject.state(), batch), batch) for batch in batches]
    together = _metrics(subject, parts)
    for order in (parts, parts[::-1]):
        first, second = (_accumulated(subject, [part]) for part in order)
        first.merge(second)
        for name, value in first.compute().items():
            np.testing.assert_allclose(value, together[name], rtol=1e-9, err_msg=f"merged metric {name!r}")


def _metrics(subject: Subject, parts: list[tuple[Outputs, Batch]]) -> dict[str, float]:
    return _accumulated(subject, parts).compute()


def _accumulated(subject: Subject, parts: list[tuple[Outputs, Batch]]):
    accumulator = subject.metrics.make_metrics(subject.definition, Split.VALIDATION, None)
    for outputs, batch in parts:
        accumulator.update(outputs, batch)
    return accumulator


def modes(subject: Subject) -> None:
    """Evaluation repeats itself and ignores dropout; training drops; running statistics move only when asked to."""
    probe, before = subject.probe, subject.weights
    again = probe.forward_pass(subject.state(), subject.batch, dropout_rate=0.5, seed=1)
    for expected, found in zip(subject.evaluation.logits, again.logits, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg="evaluation twice, with and without a dropout rate")
    if subject.definition.default_dropout is not None:
        dropped = probe.training_pass(subject.state(), subject.batch, dropout_rate=0.5)
        plain = subject.training.logits
        assert any((a != b).any() for a, b in zip(plain, dropped.logits, strict=True)), "a dropout rate changes nothing"
    statistics = {name for name in before if not name.startswith("params/")}
    if not statistics:
        return
    kept = probe.forward_pass(subject.state(), subject.batch, train=True, update_batch_norm=False)
    for name in statistics:
        np.testing.assert_array_equal(subject.evaluation.weights[name], before[name], err_msg=f"{name} in evaluation")
        np.testing.assert_array_equal(kept.weights[name], before[name], err_msg=f"{name} without update_batch_norm")
        assert (subject.training.weights[name] != before[name]).any(), f"{name} did not move in training"
    for expected, found in zip(subject.training.logits, kept.logits, strict=True):
        _assert_close(found, expected, "training logits with and without update_batch_norm")


def round_trip(subject: Subject) -> None:
    """Exported weights come back exactly, into a model that was initialised differently."""
    restored = subject.probe.import_weights(subject.weights, seed=9)
    exported = subject.probe.export_weights(restored)
    assert exported.keys() == subject.weights.keys()
    for name, value in exported.items():
        np.testing.assert_array_equal(value, subject.weights[name], err_msg=name)
    found = subject.probe.forward_pass(restored, subject.batch)
    for expected, logits in zip(subject.evaluation.logits, found.logits, strict=True):
        np.testing.assert_array_equal(logits, expected, err_msg="logits after importing")


def resumed_training(subject: Subject) -> None:
    """A checkpoint gives the state back exactly, and the next step is bitwise what it would have been."""
    backend = load(subject.framework)
    state = subject.state()
    with tempfile.TemporaryDirectory() as directory:
        backend.save_state(Path(directory), _as_checkpoint(state))
        restored = backend.load_state(Path(directory), _as_checkpoint(subject.probe.init(9)))
    resumed = subject.probe.training_pass(State(restored["model_params"], restored["model_state"]), subject.batch)
    for what, found, expected in (
        ("weights", resumed.weights, subject.training.weights),
        ("gradient", resumed.gradients, subject.training.gradients),
    ):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_array_equal(value, expected[name], err_msg=f"{what} {name} after resuming")


def _as_checkpoint(state: State) -> dict[str, Any]:
    return {"model_params": state.params, "model_state": state.model_state, "optimizer_state": {"step": 1}}


def initialisation(subject: Subject) -> None:
    """The same seed gives the same parameters, another seed other ones."""
    first, again, other = (subject.probe.export_weights(subject.probe.init(seed)) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    assert any((first[name] != other[name]).any() for name in first), "two seeds give the same parameters"


def parameter_count(subject: Subject) -> None:
    """The declared model, at its full size, has the declared number of parameters."""
    shapes = arrays_of(subject.declared_workload.param_shapes)
    count = sum(math.prod(shape.shape_tuple) for shape in shapes)
    declared = subject.declared.parameter_count
    assert count == declared, f"{count} parameters in {len(shapes)} tensors, declared {declared}"


def parameter_kinds(subject: Subject) -> None:
    """Every parameter of the declared model has a shape and a kind, and the kinds are as declared."""
    declared = subject.declared.parameter_kinds.get(subject.framework)
    assert declared is not None, f"parameter_kinds does not say anything about {subject.framework}"
    workload = subject.declared_workload
    names = [map_arrays(lambda leaf: None, tree) for tree in (workload.param_shapes, workload.model_params_types)]
    assert names[0] == names[1], "param_shapes and model_params_types name different parameters"
    found = Counter(kind.name for kind in arrays_of(workload.model_params_types))
    assert found == Counter(declared), f"parameter kinds {dict(found)}, declared {dict(declared)}"


def output_parameters(subject: Subject) -> None:
    """The model names its output layer, and not everything."""
    answers = subject.probe.is_output_parameter()
    assert any(answers.values()), f"is_output_params is False for all of {sorted(answers)}"
    single = len(answers) == 1 or (subject.framework == "pytorch" and len(answers) <= 2)
    assert single or not all(answers.values()), f"is_output_params is True for all of {sorted(answers)}"


def _assert_close(found: object, expected: object, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=SAME_PROGRAM_TOLERANCE * scale, err_msg=what)


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
