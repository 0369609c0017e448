"""Both frameworks train the small model alike from the same weights and batches (no dropout)."""

import numpy as np
import pytest
import small_model

from algoperf.harness.seeds import Seeds

pytest.importorskip("jax")
pytest.importorskip("torch")

pytestmark = [pytest.mark.jax, pytest.mark.torch]


def test_training_from_the_same_weights_gives_the_same_losses_and_statistics():
    import optax
    import small_model_jax
    import small_model_torch
    import torch

    from algoperf.backends import jax as jax_backend
    from algoperf.backends import torch as torch_backend
    from algoperf.spec import ForwardPassMode

    in_jax, in_torch = jax_backend.create(), torch_backend.create()
    jax_model, torch_model = small_model_jax.Model(), small_model_torch.Model()
    jax_workload = in_jax.build_workload(small_model.DEFINITION, jax_model)
    torch_workload = in_torch.build_workload(small_model.DEFINITION, torch_model)

    params, state = jax_workload.init_model_fn(Seeds(in_jax, 0).model_init)
    module, _ = torch_workload.init_model_fn(Seeds(in_torch, 0).model_init)
    torch_model.import_weights(jax_model.export_weights(params, state), module, None)
    sgd, torch_sgd = optax.sgd(0.1), torch.optim.SGD(module.parameters(), lr=0.1)
    sgd_state = sgd.init(params)
    for step in range(5):
        batch = small_model.make_batch(8, step)
        params, state, sgd_state, loss = small_model_jax.train_step(
            jax_workload,
            sgd.update,
            params,
            state,
            sgd_state,
            in_jax.put_batch(batch),
            Seeds(in_jax, 0).model_init,
            0.0,
        )
        torch_loss = small_model_torch.train_step(
            in_torch, torch_workload, module, torch_sgd, in_torch.put_batch(batch), 0.0
        )
        np.testing.assert_allclose(loss, torch_loss, rtol=1e-5)
    trained = jax_model.export_weights(params, state)
    torch_trained = torch_model.export_weights(module, None)
    assert trained.keys() == torch_trained.keys()
    for name, value in trained.items():
        np.testing.assert_allclose(torch_trained[name], value, rtol=1e-4, atol=1e-5, err_msg=name)

    batch = small_model.make_batch(8, 99)
    logits, _ = jax_workload.model_fn(params, batch, state, ForwardPassMode.EVAL, None, False)
    torch_logits, _ = torch_workload.model_fn(
        module, in_torch.put_batch(batch), None, ForwardPassMode.EVAL, None, False
    )
    np.testing.assert_allclose(torch_logits, logits, rtol=1e-4, atol=1e-5)


def test_batch_norm_of_one_value_per_channel_gives_the_bias_in_both():
    import jax
    import torch

    from workloads.common.jax import batch_norm as jax_batch_norm
    from workloads.common.torch.batch_norm import BatchNorm

    inputs = np.asarray([[3.0, -2.0]], np.float32)
    layer = jax_batch_norm.BatchNorm()
    variables = layer.init(jax.random.key(0), inputs, train=False)
    in_jax, updates = layer.apply(variables, inputs, train=True, mutable="batch_stats")
    module = BatchNorm(2)
    in_torch = module(torch.from_numpy(inputs))
    np.testing.assert_array_equal(in_jax, np.zeros((1, 2)))
    np.testing.assert_array_equal(in_torch.detach(), np.zeros((1, 2)))
    np.testing.assert_allclose(module.running_var, updates["batch_stats"]["var"], rtol=1e-6)


def test_nan_logits_are_neither_right_nor_wrong_in_both():
    import jax.numpy as jnp
    import torch

    from workloads.common.jax import losses as jax_losses
    from workloads.common.torch import losses as torch_losses

    logits = np.asarray([[0.0, 1.0], [np.nan, 0.0], [1.0, 0.0]], np.float32)
    labels = np.asarray([1, 0, 1])
    expected = [1.0, np.nan, 0.0]
    np.testing.assert_array_equal(jax_losses.correct(labels, jnp.asarray(logits)), expected)
    np.testing.assert_array_equal(torch_losses.correct(torch.from_numpy(labels), torch.from_numpy(logits)), expected)


def test_a_class_that_does_not_exist_is_no_loss_in_either():
    import jax
    import jax.numpy as jnp
    import torch

    from workloads.common.jax import losses as jax_losses
    from workloads.common.torch import losses as torch_losses

    loss = jax.jit(lambda labels: jax_losses.softmax_cross_entropy(labels, jnp.zeros((1, 3)))["summed"])
    for label in (-1, 3):
        assert np.isnan(loss(jnp.asarray([label])))
        with pytest.raises(IndexError):
            torch_losses.softmax_cross_entropy(torch.tensor([label]), torch.zeros(1, 3))
