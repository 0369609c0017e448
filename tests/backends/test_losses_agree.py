"""The losses of both frameworks are one function of labels, outputs, weights and smoothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.definition import LossType

pytest.importorskip("jax")
pytest.importorskip("torch")

pytestmark = [pytest.mark.jax, pytest.mark.torch]
WITH_GENERAL_FORM = [loss_type for loss_type in LossType if loss_type is not LossType.CTC_LOSS]


@pytest.mark.parametrize("loss_type", WITH_GENERAL_FORM, ids=lambda loss_type: loss_type.name)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), weighted=st.booleans(), smoothing=st.sampled_from([0.0, 0.3]))
def test_losses_agree(loss_type, seed, weighted, smoothing):
    import torch

    from workloads.common.jax import losses as in_jax
    from workloads.common.torch import losses as in_torch

    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(5, 4)).astype(np.float32)
    labels = generator.dirichlet(np.ones(4), 5).astype(np.float32)
    weights = generator.integers(0, 2, 5).astype(np.float32) if weighted else None
    expected = in_jax.of_type(loss_type, labels, outputs, weights, smoothing)
    tensors = [None if array is None else torch.from_numpy(array) for array in (labels, outputs, weights)]
    result = in_torch.of_type(loss_type, *tensors, smoothing)
    assert result.keys() == expected.keys()
    for name, value in result.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_loss_without_a_general_form_is_refused(framework):
    import importlib

    losses = importlib.import_module(f"workloads.common.{framework}.losses")
    with pytest.raises(ValueError, match="CTC_LOSS has no general form; override"):
        losses.of_type(LossType.CTC_LOSS, None, None, None, 0.0)
