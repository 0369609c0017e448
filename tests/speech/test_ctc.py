"""CTC in both frameworks: the loss against a sum over all alignments, and greedy decoding."""

import functools
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@functools.cache
def compiled():
    import jax

    from workloads.common.jax import ctc

    def summed(values, labels, paddings):
        return ctc.ctc_losses(labels, (values, paddings))["summed"]

    return SimpleNamespace(
        losses=jax.jit(ctc.ctc_losses), gradient=jax.jit(jax.grad(summed)), decode=jax.jit(ctc.greedy_decode)
    )


def jax_losses(labels, logits, weights=None):
    return {name: np.asarray(value) for name, value in compiled().losses(labels, logits, weights).items()}


def torch_losses(labels, logits, weights=None):
    import torch

    from workloads.common.torch.ctc import ctc_losses

    tensors = [tuple(map(torch.from_numpy, pair)) for pair in (labels, logits)]
    losses = ctc_losses(*tensors, None if weights is None else torch.from_numpy(weights))
    return {name: value.numpy() for name, value in losses.items()}


def jax_gradient(labels, logits):
    return np.asarray(compiled().gradient(logits[0], labels, logits[1]))


def torch_gradient(labels, logits):
    import torch

    from workloads.common.torch.ctc import ctc_losses

    values = torch.from_numpy(logits[0]).requires_grad_()
    ctc_losses(tuple(map(torch.from_numpy, labels)), (values, torch.from_numpy(logits[1])))["summed"].backward()
    return values.grad.numpy()


def jax_decode(logits, paddings):
    return np.asarray(compiled().decode(logits, paddings))


def torch_decode(logits, paddings):
    import torch

    from workloads.common.torch.ctc import greedy_decode

    return greedy_decode(torch.from_numpy(logits), torch.from_numpy(paddings)).numpy()


def both(jax, torch):
    return [
        pytest.param(jax, marks=pytest.mark.jax, id="jax"),
        pytest.param(torch, marks=pytest.mark.torch, id="torch"),
    ]


def collapsed(path):
    """Labels of an alignment: repeats merged, blanks dropped."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def sum_over_alignments(labels, logits):
    """-log of the probability of `labels`, summed over every path of `logits` [steps, outputs]; inf without any."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    steps, outputs = logits.shape
    paths = [p for p in itertools.product(range(outputs), repeat=steps) if collapsed(p) == tuple(labels)]
    if not paths:
        return math.inf
    return -np.logaddexp.reduce([sum(log_probs[step, label] for step, label in enumerate(path)) for path in paths])


def padded(sequences, length):
    rows = np.zeros((len(sequences), length), np.int32)
    paddings = np.ones((len(sequences), length), np.float32)
    for row, sequence in enumerate(sequences):
        rows[row, : len(sequence)] = sequence
        paddings[row, : len(sequence)] = 0
    return rows, paddings


@st.composite
def cases(draw):
    """Label sequences and numbers of steps of a batch; many are infeasible."""
    labels = draw(st.lists(st.lists(st.integers(1, 2), max_size=3), min_size=3, max_size=3))
    steps = draw(st.lists(st.integers(0, 4), min_size=3, max_size=3))
    return labels, steps, draw(st.integers(0, 10**6))


@pytest.mark.parametrize("losses", both(jax_losses, torch_losses))
@given(case=cases())
@settings(max_examples=25)
def test_loss_is_the_sum_over_alignments(losses, case):
    labels, steps, seed = case
    logits = np.random.default_rng(seed).normal(0, 2, (3, 4, 3)).astype(np.float32)
    logit_paddings = (np.arange(4) >= np.array(steps)[:, None]).astype(np.float32)
    found = losses(padded(labels, 3), (logits, logit_paddings))
    for row in range(3):
        expected = sum_over_alignments(labels[row], logits[row, : steps[row]].astype(np.float64))
        if math.isinf(expected):
            repeats = sum(a == b for a, b in itertools.pairwise(labels[row]))
            expected = 1e5 * (len(labels[row]) + repeats - steps[row])
        assert found["per_example"][row] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert found["summed"] == pytest.approx(found["per_example"].sum(), rel=1e-5)
    assert found["n_valid_examples"] == max(1, sum(map(len, labels)))


@pytest.mark.parametrize("gradient", both(jax_gradient, torch_gradient))
def test_gradients_are_finite_and_zero_where_nothing_counts(gradient):
    labels = padded([[1, 1, 2], [1, 2], [], [2]], 3)
    logits = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
    paddings = np.array([[0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], np.float32)
    found = gradient(labels, (logits, paddings))
    assert np.isfinite(found).all()
    assert not found[0].any(), "three steps are too few for 1 1 2"
    assert not found[1, 3].any(), "padded step"
    assert not found[2].any(), "padded row"
    assert found[1, :3].any()
    assert found[3].any()


@pytest.mark.jax
@pytest.mark.torch
def test_gradients_agree_between_the_frameworks():
    rng = np.random.default_rng(1)
    labels = padded([rng.integers(1, 12, size) for size in (9, 4, 1)], 9)
    logits = rng.normal(0, 3, (3, 20, 12)).astype(np.float32)
    paddings = (np.arange(20) >= np.array([[20], [15], [3]])).astype(np.float32)
    np.testing.assert_allclose(
        jax_gradient(labels, (logits, paddings)), torch_gradient(labels, (logits, paddings)), atol=2e-5
    )


@pytest.mark.parametrize("losses", both(jax_losses, torch_losses))
def test_padding_and_weights(losses):
    rng = np.random.default_rng(2)
    labels = padded([[1, 2], [2, 2, 1]], 3)
    logits = rng.normal(size=(2, 8, 4)).astype(np.float32)
    paddings = (np.arange(8) >= np.array([[5], [8]])).astype(np.float32)
    plain = losses(labels, (logits, paddings))
    other_logits, other_labels = logits.copy(), labels[0].copy()
    other_logits[0, 5:] = 77
    other_labels[0, 2] = 3
    longer = losses((other_labels, labels[1]), (other_logits, paddings))
    np.testing.assert_allclose(longer["per_example"], plain["per_example"], rtol=1e-6)
    for weights in (np.array([0, 1], np.float32), np.array([[0, 0, 0], [1, 1, 1]], np.float32)):
        weighted = losses(labels, (logits, paddings), weights)
        np.testing.assert_allclose(weighted["per_example"], plain["per_example"] * [0, 1], rtol=1e-6)
        assert weighted["n_valid_examples"] == 3


@pytest.mark.parametrize("decode", both(jax_decode, torch_decode))
@given(
    paths=st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4), real=st.integers(0, 6)
)
@settings(max_examples=30)
def test_greedy_decoding_collapses_the_likeliest_path(decode, paths, real):
    logits = np.eye(4, dtype=np.float32)[np.array(paths)]
    paddings = np.broadcast_to((np.arange(6) >= real).astype(np.float32), (len(paths), 6)).copy()
    found = decode(logits, paddings)
    assert found.dtype == np.int32
    for row, path in zip(found.tolist(), paths, strict=True):
        expected = list(collapsed(path[:real]))
        assert row == expected + [0] * (6 - len(expected))
