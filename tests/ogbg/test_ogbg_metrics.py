"""Mean average precision is scikit-learn's over the labels that are there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss

from workloads.ogbg.metrics import GraphMetrics, average_precisions, mean_average_precision


@st.composite
def scored_labels(draw):
    num_examples, num_tasks = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (num_examples, num_tasks)
    # Few decimals make equal scores.
    scores = np.round(rng.standard_normal(shape), draw(st.integers(0, 3))).astype(np.float32)
    return scores, rng.random(shape) < rng.random(), rng.random(shape) < rng.random()


@given(scored_labels())
def test_equals_scikit_learn_task_by_task(case):
    scores, labels, labelled = case
    found = average_precisions(scores, labels, labelled)
    for task in range(scores.shape[1]):
        there = labelled[:, task]
        truth = labels[there, task]
        if truth.any() and not truth.all():
            assert found[task] == pytest.approx(average_precision_score(truth, scores[there, task]), abs=1e-12)
        else:
            assert np.isnan(found[task])


def test_tasks_without_a_negative_or_a_positive_are_left_out():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4], [0.5, 0.5, 0.5]])
    labels = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]])
    labelled = np.ones_like(labels)
    assert mean_average_precision(scores, labels, labelled) == 1.0  # the first task alone
    labels[:, 0] = 1
    assert np.isnan(mean_average_precision(scores, labels, labelled))


def test_missing_labels_never_matter():
    rng = np.random.default_rng(0)
    scores, labels, labelled = rng.random((50, 6)), rng.random((50, 6)) < 0.4, rng.random((50, 6)) < 0.5
    other_scores = np.where(labelled, scores, rng.random((50, 6)) * 100)
    other_labels = np.where(labelled, labels, ~labels)
    assert mean_average_precision(scores, labels, labelled) == mean_average_precision(
        other_scores, other_labels, labelled
    )


def test_a_model_that_diverged_scores_nan():
    scores = np.full((4, 1), np.nan)
    assert np.isnan(mean_average_precision(scores, np.array([[0], [1], [0], [1]]), np.ones((4, 1))))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"one shape \[examples, tasks\], got \(3, 2\)"):
        average_precisions(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 2)))


def _batch(rng, num_graphs, num_tasks=3, num_padding=0):
    logits = rng.standard_normal((num_graphs, num_tasks)).astype(np.float32)
    targets = (rng.random((num_graphs, num_tasks)) < 0.5).astype(np.float32)
    weights = (rng.random((num_graphs, num_tasks)) < 0.7).astype(np.float32)
    weights[num_graphs - num_padding :] = 0
    losses = weights * (np.logaddexp(0, logits) - logits * targets)
    return {"logits": logits, "loss": losses}, {"targets": targets, "weights": weights}


def test_one_accumulator_equals_merged_ones_in_any_order():
    rng = np.random.default_rng(1)
    batches = [_batch(rng, size, num_padding=padding) for size, padding in ((8, 0), (5, 2), (7, 7))]
    together, first, second = GraphMetrics(), GraphMetrics(), GraphMetrics()
    for outputs, batch in batches:
        together.update(outputs, batch)
    second.update(*batches[0])
    for outputs, batch in batches[1:]:
        first.update(outputs, batch)
    first.merge(second)
    assert first.compute() == pytest.approx(together.compute(), rel=1e-12)


def test_loss_and_accuracy_are_means_over_labels():
    outputs, batch = _batch(np.random.default_rng(2), 40)
    metrics = GraphMetrics()
    metrics.update(outputs, batch)
    values = metrics.compute()
    there = batch["weights"] > 0
    logits, truth = outputs["logits"][there], batch["targets"][there]
    assert values["accuracy"] == pytest.approx(((logits > 0) == truth).mean())
    assert values["loss"] == pytest.approx(log_loss(truth, 1 / (1 + np.exp(-logits))), rel=1e-5)


def test_an_evaluation_without_labels_is_an_error():
    metrics = GraphMetrics()
    with pytest.raises(ValueError, match="no graph with labels"):
        metrics.compute()


def test_nan_logits_give_nan_metrics():
    metrics = GraphMetrics()
    outputs = {"logits": np.asarray([[0.5], [np.nan]], np.float32), "loss": np.asarray([0.1, np.nan])}
    metrics.update(outputs, {"targets": np.asarray([[1], [0]]), "weights": np.ones((2, 1))})
    assert all(np.isnan(value) for value in metrics.compute().values())
