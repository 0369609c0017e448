"""JAX and PyTorch compute the same thing: from the same weights on the same batch."""

from collections.abc import Iterable

import numpy as np

from algoperf.definition import Split
from algoperf.testing.conformance.workload_fixture import WorkloadFixture

# Float32 in both. Relative to the largest absolute value of what is compared, because sums of different order differ by
# an amount that goes with the largest terms.
LOGITS_TOLERANCE = 2e-4
LOSS_TOLERANCE = 2e-5
GRADIENT_NORM_TOLERANCE = 5e-4
GRADIENT_TOLERANCE = 2e-3  # of a tensor's own norm ...
GRADIENT_FLOOR = 1e-5  # ... or of the norm over all tensors, for those that are nearly zero
STATISTICS_TOLERANCE = 1e-4
METRIC_TOLERANCE = 1e-4
_STANDARD_ERRORS = 4.5


def same_weights(jax: WorkloadFixture, torch: WorkloadFixture) -> None:
    """Both export the same names, shapes and dtypes."""
    ours, theirs = ({name: (array.shape, array.dtype) for name, array in s.weights.items()} for s in (jax, torch))
    assert ours == theirs, f"only in one framework, or different: {sorted(set(ours.items()) ^ set(theirs.items()))}"


def same_evaluation(jax: WorkloadFixture, torch: WorkloadFixture) -> None:
    """Logits and loss in evaluation mode, every output of `evaluate`, and every metric."""
    torch_state = torch.adapter.import_weights(jax.weights)
    ours, theirs = jax.evaluation, torch.adapter.forward_pass(torch_state, jax.batch)
    _assert_logits(ours.logits, theirs.logits)
    _assert_close(theirs.loss, ours.loss, LOSS_TOLERANCE, "loss")
    outputs = torch.adapter.evaluate(torch_state, jax.batch)
    assert outputs.keys() == jax.outputs.keys()
    real = jax.batch["weights"].reshape(len(jax.batch["weights"]), -1).any(axis=1)
    for name, expected in jax.outputs.items():
        _assert_close(outputs[name][real], expected[real], LOGITS_TOLERANCE, f"output {name!r}")
    computed = []
    for values in (jax.outputs, outputs):
        metrics = jax.metrics.make_metrics(jax.definition, Split.VALIDATION, None)
        metrics.update(values, jax.batch)
        computed.append(metrics.compute())
    for name, expected in computed[0].items():
        _assert_close(computed[1][name], expected, METRIC_TOLERANCE, f"metric {name!r}")


def same_training(jax: WorkloadFixture, torch: WorkloadFixture) -> None:
    """Logits, loss with and without label smoothing, gradients and updated batch statistics in training mode."""
    ours = jax.training
    theirs = torch.adapter.training_pass(torch.adapter.import_weights(jax.weights), jax.batch)
    _assert_logits(ours.logits, theirs.logits)
    _assert_close(theirs.loss, ours.loss, LOSS_TOLERANCE, "loss")
    norm = _norm(ours.gradients.values())
    _assert_close(_norm(theirs.gradients.values()), norm, GRADIENT_NORM_TOLERANCE, "gradient norm")
    for name, expected in ours.gradients.items():
        difference = float(np.linalg.norm(theirs.gradients[name] - expected))
        allowed = max(GRADIENT_TOLERANCE * float(np.linalg.norm(expected)), GRADIENT_FLOOR * norm)
        assert difference <= allowed, f"gradients of {name} differ by {difference}, allowed {allowed}"
    for name, expected in ours.weights.items():
        if not name.startswith("params/"):
            _assert_close(theirs.weights[name], expected, STATISTICS_TOLERANCE, name)
    smoothed = [
        fixture.adapter.training_pass(fixture.adapter.import_weights(jax.weights), jax.batch, label_smoothing=0.1).loss
        for fixture in (jax, torch)
    ]
    _assert_close(smoothed[1], smoothed[0], LOSS_TOLERANCE, "loss with label smoothing")


def same_initial_distribution(jax: WorkloadFixture, torch: WorkloadFixture) -> None:
    """Mean and standard deviation of each tensor agree as far as tensors of its size can tell."""
    samples = [
        [fixture.adapter.export_weights(fixture.adapter.init(seed)) for seed in range(20, 26)]
        for fixture in (jax, torch)
    ]
    for name in samples[0][0]:
        ours, theirs = (np.concatenate([weights[name].ravel() for weights in of]).astype(np.float64) for of in samples)
        scale = max(ours.std(), theirs.std(), 1e-12)
        standard_error = scale / np.sqrt(
            len(ours)
        )  # of a difference of standard deviations; of means it is sqrt(2) times
        offset = abs(ours.mean() - theirs.mean())
        allowed = _STANDARD_ERRORS * standard_error + 1e-7
        assert offset <= np.sqrt(2) * allowed, f"means of {name} at initialisation differ by {offset}"
        spread = abs(ours.std() - theirs.std())
        assert spread <= allowed, (
            f"standard deviations of {name} at initialisation: {ours.std()} in JAX, {theirs.std()} in PyTorch"
        )


def _assert_logits(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert [array.shape for array in ours] == [array.shape for array in theirs]
    for expected, actual in zip(ours, theirs, strict=True):
        _assert_close(actual, expected, LOGITS_TOLERANCE, "logits")


def _assert_close(actual: object, expected: object, tolerance: float, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    scale = float(np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=what)


def _norm(gradients: Iterable[np.ndarray]) -> float:
    return float(np.linalg.norm([np.linalg.norm(gradient.astype(np.float64)) for gradient in gradients]))


PARITY_CHECKS = (same_weights, same_evaluation, same_training, same_initial_distribution)
