"""Both frameworks hold the same model; shards and padding change nothing; sizes are the declared ones."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from algoperf.data import BatchRequest
from algoperf.definition import Split
from workloads.ogbg.data import fake_batch, open_split
from workloads.ogbg.definition import DEFINITIONS, OGBG

_by_name = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)


def _jax_model(definition):
    pytest.importorskip("jax")
    from workloads.ogbg import jax_model

    return jax_model.build(definition)


def _torch_model(definition):
    pytest.importorskip("torch")
    from workloads.ogbg import torch_model

    return torch_model.build(definition)


def _to_torch(tree):
    import torch

    if isinstance(tree, dict):
        return {name: _to_torch(leaf) for name, leaf in tree.items()}
    return torch.from_numpy(np.array(tree))


_MODE = {"train": True, "update_batch_norm": True, "rng": None}


@pytest.mark.jax
@pytest.mark.torch
def test_frameworks_agree_closely():
    """Closer than the conformance suite asks of every variant."""
    import jax
    import torch

    small = DEFINITIONS[0].shrunk()
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
        logits, _ = in_jax.forward(params, batch, None, dropout_rate=0.0, **_MODE)
        sums = in_jax.loss(batch["targets"], logits, batch["weights"], 0.1)
        return sums["summed"] / sums["n_valid_examples"], logits

    (loss, logits), gradient = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))(params)
    torch_batch = _to_torch(batch)
    torch_logits, _ = in_torch.forward(module, torch_batch, None, dropout_rate=0.0, **_MODE)
    sums = in_torch.loss(torch_batch["targets"], torch_logits, torch_batch["weights"], 0.1)
    torch_loss = sums["summed"] / sums["n_valid_examples"]
    torch_loss.backward()
    assert sums["n_valid_examples"].item() == batch["weights"].sum()
    np.testing.assert_allclose(torch_logits.detach().numpy(), logits, atol=2e-5)
    assert torch_loss.item() == pytest.approx(float(loss), rel=1e-5)
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    torch_norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters()]).item()
    assert torch_norm == pytest.approx(norm, rel=1e-4)

    evaluated = in_jax.evaluate(params, batch, None)
    torch_evaluated = in_torch.evaluate(module, torch_batch, None)
    for name in ("logits", "loss"):
        assert evaluated[name].shape == (6, 128)
        np.testing.assert_allclose(torch_evaluated[name].numpy(), evaluated[name], atol=2e-5)


@_by_name
@pytest.mark.jax
def test_size_and_output_layer_in_jax(definition):
    import jax

    model = _jax_model(definition)
    shapes = jax.eval_shape(lambda key: model.init(key)[0], jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == definition.checks.parameter_count
    assert len(jax.tree.leaves(shapes)) == sum(definition.checks.parameter_kinds["jax"].values())
    (output,) = [key for key in shapes if model.is_output_params(key)]
    assert shapes[output]["kernel"].shape == (definition.model.hidden_widths[-1], 128)


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
    assert output == {(128, definition.model.hidden_widths[-1]), (128,)}


def _read(source, count, num_shards, batch_size=None, **options):
    request = BatchRequest(indices=np.arange(count), batch_size=batch_size or count, num_shards=num_shards, **options)
    return source.read(request)


@pytest.mark.jax
def test_shards_and_padding_change_nothing_in_jax(molecule_dir, tiny_definition):
    import jax

    model = _jax_model(tiny_definition)
    params, _ = model.init(jax.random.key(1))
    source = open_split(tiny_definition, Split.VALIDATION, molecule_dir)
    whole = np.asarray(model.evaluate(params, _read(source, 8, 1), None)["logits"])
    assert np.ptp(whole, axis=0).max() > 0.1  # graphs differ
    shared = np.asarray(model.evaluate(params, _read(source, 8, 4), None)["logits"])
    padded = np.asarray(model.evaluate(params, _read(source, 8, 2, batch_size=16), None)["logits"])
    np.testing.assert_allclose(shared, whole, atol=1e-5)
    np.testing.assert_allclose(padded[:8], whole, atol=1e-5)


@pytest.mark.torch
def test_shards_and_padding_change_nothing_in_torch(molecule_dir, tiny_definition):
    model = _torch_model(tiny_definition)
    module, _ = model.init(None)
    source = open_split(tiny_definition, Split.VALIDATION, molecule_dir)

    def logits(*arguments, **options):
        return model.evaluate(module, _to_torch(_read(source, *arguments, **options)), None)["logits"].numpy()

    whole = logits(8, 1)
    assert np.ptp(whole, axis=0).max() > 0.1
    np.testing.assert_allclose(logits(8, 4), whole, atol=1e-5)
    np.testing.assert_allclose(logits(8, 2, batch_size=16)[:8], whole, atol=1e-5)


@pytest.mark.jax
def test_dropout_acts_in_training_only_in_jax():
    import jax

    small = OGBG.shrunk()
    model, batch = _jax_model(small), fake_batch(small, 4, seed=2)
    params, _ = model.init(jax.random.key(0))
    forward = jax.jit(model.forward, static_argnames=("train", "update_batch_norm"))

    def logits(seed, **mode):
        return forward(params, batch, None, rng=jax.random.key(seed), update_batch_norm=True, **mode)[0]

    assert not np.allclose(logits(1, train=True, dropout_rate=0.5), logits(2, train=True, dropout_rate=0.5))
    np.testing.assert_array_equal(logits(1, train=False, dropout_rate=0.5), logits(2, train=False, dropout_rate=0.0))


@pytest.mark.torch
def test_dropout_acts_in_training_only_in_torch():
    small = OGBG.shrunk()
    model, batch = _torch_model(small), _to_torch(fake_batch(small, 4, seed=2))
    module, _ = model.init(None)

    def logits(**mode):
        return model.forward(module, batch, None, rng=None, update_batch_norm=True, **mode)[0].detach().numpy()

    assert not np.allclose(logits(train=True, dropout_rate=0.5), logits(train=True, dropout_rate=0.5))
    np.testing.assert_array_equal(logits(train=False, dropout_rate=0.5), logits(train=False, dropout_rate=0.0))


_ON_FOUR_DEVICES = """
import sys
import jax, numpy as np
from pathlib import Path
from algoperf import jax_sharding_utils
from algoperf.data import BatchRequest
from algoperf.definition import Split
from workloads.ogbg import jax_model
from workloads.ogbg.data import GraphSource
from algoperf.data import Store
from algoperf.data.places import store_dir
from workloads.ogbg.definition import MINI

store = Store(store_dir(MINI, Path(sys.argv[1])))
first, last = store.meta["splits"]["validation"]
source = GraphSource(store, first=first, last=last)
model = jax_model.build(MINI.shrunk())
params = jax.device_put(model.init(jax.random.key(0))[0], jax_sharding_utils.get_replicate_sharding())

def mean_loss(params, batch):
    logits, _ = model.forward(params, batch, None, train=True, rng=None, update_batch_norm=True, dropout_rate=0.0)
    sums = model.loss(batch["targets"], logits, batch["weights"], 0.0)
    return sums["summed"] / sums["n_valid_examples"]

assert jax.device_count() == 4
results = []
for shards in (1, 4):
    batch = source.read(BatchRequest(indices=np.arange(8), batch_size=8, num_shards=shards))
    if shards == 4:
        batch = jax_sharding_utils.shard_along_batch_dim(batch)
        assert batch["inputs"]["nodes"].sharding.shard_shape(batch["inputs"]["nodes"].shape)[0] == 1
    loss, gradient = jax.jit(jax.value_and_grad(mean_loss))(params, batch)
    results.append([np.asarray(leaf) for leaf in (loss, *jax.tree.leaves(gradient))])
for one, four in zip(*results, strict=True):
    np.testing.assert_allclose(four, one, rtol=1e-4, atol=1e-6)
print("equal")
"""


@pytest.mark.jax
def test_four_devices_give_the_loss_and_gradient_of_one(molecule_dir):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", _ON_FOUR_DEVICES, str(molecule_dir)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal"
