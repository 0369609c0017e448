"""Both frameworks hold the same model and loss; initial values, sizes and the memory of a step are as stated."""

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from algoperf.definition import Split
from algoperf.metrics.declared import make_metrics
from workloads.criteo1tb.data import fake_batch
from workloads.criteo1tb.definition import CRITEO1TB, DEFINITIONS, DlrmConfig

_by_name = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
_MODE = {"train": True, "update_batch_norm": True, "rng": None, "dropout_rate": 0.0}


def _jax_model(definition):
    pytest.importorskip("jax")
    from workloads.criteo1tb import jax_model

    return jax_model.build(definition)


def _torch_model(definition):
    pytest.importorskip("torch")
    from workloads.criteo1tb import torch_model

    return torch_model.build(definition)


def _to_torch(batch):
    import torch

    return {name: torch.from_numpy(array) for name, array in batch.items()}


@pytest.mark.jax
@pytest.mark.torch
def test_frameworks_agree_closely():
    """Closer than the conformance suite asks of every variant."""
    import jax
    import torch

    small = CRITEO1TB.shrunk()
    in_jax, in_torch = _jax_model(small), _torch_model(small)
    batch = fake_batch(small, 6, seed=0)
    params, _ = in_jax.init(jax.random.key(0))
    module, _ = in_torch.init(None)
    exported = in_jax.export_weights(params, None)
    in_torch.import_weights(exported, module, None)
    returned = in_torch.export_weights(module, None)
    assert returned.keys() == exported.keys()
    assert all(np.array_equal(returned[name], exported[name]) for name in exported)

    def mean_loss(params):
        logits, _ = in_jax.forward(params, batch, None, **_MODE)
        sums = in_jax.loss(batch["targets"], logits, batch["weights"], 0.1)
        return sums["summed"] / sums["n_valid_examples"], logits

    (loss, logits), gradient = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))(params)
    torch_batch = _to_torch(batch)
    torch_logits, _ = in_torch.forward(module, torch_batch, None, **_MODE)
    sums = in_torch.loss(torch_batch["targets"], torch_logits, torch_batch["weights"], 0.1)
    torch_loss = sums["summed"] / sums["n_valid_examples"]
    torch_loss.backward()
    assert logits.shape == torch_logits.shape == (6, 1)
    assert sums["n_valid_examples"].item() == 5
    np.testing.assert_allclose(torch_logits.detach().numpy(), logits, atol=1e-4)
    assert torch_loss.item() == pytest.approx(float(loss), rel=1e-5)
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    torch_norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters()]).item()
    assert torch_norm == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(
        in_torch.evaluate(module, torch_batch, None)["loss"].numpy(),
        in_jax.evaluate(params, batch, None)["loss"],
        atol=1e-4,
    )


def _reference_logits(weights, inputs, model):
    """The base model in NumPy, from its description."""

    def dense(x, number):
        return x @ weights[f"params/Dense_{number}/kernel"] + weights[f"params/Dense_{number}/bias"]

    bottom = inputs[:, :13]
    for number in range(3):
        bottom = np.maximum(dense(bottom, number), 0)
    rows = inputs[:, 13:].astype(np.int64) % model.table_rows
    vectors = np.concatenate([bottom[:, None], weights["params/embedding_table"][rows]], axis=1)
    pairs = [(i, j) for i in range(27) for j in range(i, 27)]
    dots = np.stack([(vectors[:, i] * vectors[:, j]).sum(-1) for i, j in pairs], axis=1)
    top = np.concatenate([bottom, dots], axis=1)
    for number in range(3, 7):
        top = np.maximum(dense(top, number), 0)
    return dense(top, 7)


@pytest.mark.jax
def test_base_model_is_the_described_one():
    import jax

    small = CRITEO1TB.shrunk()
    model = _jax_model(small)
    params, _ = model.init(jax.random.key(3))
    batch = fake_batch(small, 5, seed=1)
    logits, _ = model.forward(params, batch, None, **_MODE)
    expected = _reference_logits(model.export_weights(params, None), batch["inputs"], small.model)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.jax
def test_loss_of_a_split_is_scikit_learns_log_loss():
    import jax

    small = CRITEO1TB.shrunk()
    model = _jax_model(small)
    params, _ = model.init(jax.random.key(0))
    metrics = make_metrics(small, Split.VALIDATION, None)
    labels, probabilities = [], []
    for seed in range(3):
        batch = fake_batch(small, 20, seed)
        metrics.update({k: np.asarray(v) for k, v in model.evaluate(params, batch, None).items()}, batch)
        logits = np.asarray(model.forward(params, batch, None, **_MODE)[0])[:-1, 0]
        labels.append(batch["targets"][:-1])
        probabilities.append(1 / (1 + np.exp(-logits.astype(np.float64))))
    expected = log_loss(np.concatenate(labels), np.concatenate(probabilities))
    assert metrics.compute()["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_merged_metric_counts_every_click_once():
    metrics = [make_metrics(CRITEO1TB, Split.TEST, None) for _ in range(2)]
    metrics[0].update({"loss": np.array([1.0, 3.0, 99.0])}, {"weights": np.array([1, 1, 0])})
    metrics[1].update({"loss": np.array([8.0])}, {"weights": np.array([1])})
    metrics[0].merge(metrics[1])
    assert metrics[0].compute() == {"loss": 4.0}


@_by_name
@pytest.mark.jax
def test_size_and_output_layer_in_jax(definition):
    import jax

    model = _jax_model(definition)
    shapes = jax.eval_shape(lambda key: model.init(key)[0], jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == definition.checks.parameter_count
    assert len(jax.tree.leaves(shapes)) == sum(definition.checks.parameter_kinds["jax"].values())
    (output,) = [key for key in shapes if model.is_output_params(key)]
    assert shapes[output]["kernel"].shape == (definition.model.top_widths[-2], 1)


@_by_name
@pytest.mark.torch
def test_size_and_output_layer_in_torch(definition):
    import torch

    model = _torch_model(definition)
    with torch.device("meta"):
        module, _ = model.init(None)
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert sum(map(math.prod, shapes.values())) == definition.checks.parameter_count
    assert len(shapes) == sum(definition.checks.parameter_kinds["pytorch"].values())
    output = {shapes[name] for name in shapes if model.is_output_params(name)}
    assert output == {(1, definition.model.top_widths[-2]), (1,)}


_WIDE = dataclasses.replace(CRITEO1TB, model=dataclasses.replace(DlrmConfig(), table_rows=4096))


def _check_initial_values(weights, model):
    table = weights["params/embedding_table"]
    scale = model.initial_embedding_scale
    assert 0 <= table.min() < 0.01 * scale
    assert 0.99 * scale < table.max() <= scale
    for number, expected in enumerate((0.03616, 0.03125, 0.03608, 0.05103, 0.08822)):
        kernel = weights[f"params/Dense_{3 + number}/kernel"]
        assert kernel.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * kernel.size))  # four standard errors
    bottom = weights["params/Dense_1/kernel"]
    limit = math.sqrt(6 / sum(bottom.shape))
    assert 0.98 * limit < np.abs(bottom).max() <= limit
    assert weights["params/Dense_3/bias"].std() == pytest.approx(1024**-0.5, rel=0.1)


@pytest.mark.jax
@pytest.mark.parametrize("scale", [None, 1.0])
def test_initial_values_in_jax(scale):
    import jax

    wide = dataclasses.replace(_WIDE, model=dataclasses.replace(_WIDE.model, embedding_scale=scale))
    model = _jax_model(wide)
    _check_initial_values(model.export_weights(*model.init(jax.random.key(0))), wide.model)


@pytest.mark.torch
@pytest.mark.parametrize("scale", [None, 1.0])
def test_initial_values_in_torch(scale):
    import torch

    torch.manual_seed(0)
    wide = dataclasses.replace(_WIDE, model=dataclasses.replace(_WIDE.model, embedding_scale=scale))
    model = _torch_model(wide)
    _check_initial_values(model.export_weights(*model.init(None)), wide.model)


@pytest.mark.jax
def test_a_donated_step_holds_the_table_once_and_its_gradient_at_most_once():
    import jax

    tall = dataclasses.replace(CRITEO1TB, model=dataclasses.replace(CRITEO1TB.checks.small_model, table_rows=1 << 18))
    model, batch = _jax_model(tall), fake_batch(tall, 4, seed=0)
    params = jax.eval_shape(lambda key: model.init(key)[0], jax.random.key(0))
    table_bytes = params["embedding_table"].size * 4

    def mean_loss(params, batch):
        logits, _ = model.forward(params, batch, None, **_MODE)
        return model.loss(batch["targets"], logits, None, 0.0)["summed"] / 4

    def step(params, batch):
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(mean_loss)(params, batch))

    memory = jax.jit(step, donate_argnums=0).lower(params, batch).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= table_bytes
    assert memory.temp_size_in_bytes < 1.1 * table_bytes


@pytest.mark.torch
def test_the_table_is_one_tensor_that_steps_update_in_place():
    import torch

    model = _torch_model(CRITEO1TB.shrunk())
    module, _ = model.init(None)
    (table,) = [p for name, p in module.named_parameters() if "embedding" in name]
    address, before = table.data_ptr(), table.detach().clone()
    batch = _to_torch(fake_batch(CRITEO1TB.shrunk(), 4, seed=0))
    logits, _ = model.forward(module, batch, None, **_MODE)
    model.loss(batch["targets"], logits, None, 0.0)["summed"].backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert table.data_ptr() == address
    assert not torch.equal(table, before)
