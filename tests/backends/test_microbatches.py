"""A batch in parts gives the losses, gradients and evaluations of the whole; what cannot be split is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.backends.base import load, model_module
from algoperf.backends.microbatches import MicrobatchError, num_microbatches
from algoperf.registry import REGISTRY
from algoperf.testing.conformance.adapter import load_adapter
from algoperf.testing.conformance.parity import LOGITS_TOLERANCE
from algoperf.testing.conformance.workload_fixture import perturbed

FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
ROWS, MAX_ROWS = 6, 2
SPLIT = ["criteo1tb", "imagenet_vit", "fastmri", "wmt", "finewebedu_lm"]


@given(st.integers(1, 300), st.integers(1, 300))
def test_parts_are_equal_small_enough_and_as_few_as_can_be(rows, max_rows):
    count = num_microbatches(rows, max_rows)
    assert rows % count == 0
    assert rows // count <= max_rows
    assert not any(rows % fewer == 0 and rows // fewer <= max_rows for fewer in range(1, count))


def models(name, framework):
    """The definition at test size, a batch, and the model that computes it whole and in parts."""
    definition = REGISTRY.get(name).shrunk()
    batch = REGISTRY.module(name, "data").fake_batch(definition, ROWS, 1)
    module = REGISTRY.module(name, model_module(framework))
    backend = load(framework)
    return batch, module.build(definition), backend.microbatched(definition, module.build(definition), MAX_ROWS, batch)


@pytest.mark.parametrize(
    ("name", "framework"),
    [
        *(pytest.param(name, "pytorch", marks=pytest.mark.torch) for name in SPLIT),
        *(pytest.param(name, "jax", marks=pytest.mark.jax) for name in SPLIT[:2]),  # compiling takes its time
    ],
)
def test_parts_give_what_the_whole_gives(name, framework):
    batch, whole, in_parts = models(name, framework)
    adapters = [load_adapter(framework, model) for model in (whole, in_parts)]
    weights = perturbed(adapters[0].export_weights(adapters[0].init(3)), seed=5)
    passes = [a.training_pass(a.import_weights(weights), batch) for a in adapters]
    expected, actual = passes
    assert actual.loss == pytest.approx(expected.loss, rel=1e-5)
    assert actual.gradients.keys() == expected.gradients.keys()
    scale = max(float(np.abs(g).max()) for g in expected.gradients.values())
    for key, gradient in expected.gradients.items():
        np.testing.assert_allclose(actual.gradients[key], gradient, rtol=1e-3, atol=1e-5 * scale, err_msg=key)
    outputs = [a.evaluate(a.import_weights(weights), batch) for a in adapters]
    for key, values in outputs[0].items():
        size = float(np.abs(values).max(initial=1.0))
        np.testing.assert_allclose(outputs[1][key], values, rtol=0, atol=LOGITS_TOLERANCE * size, err_msg=key)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("imagenet_resnet", "statistics of the whole batch"),
        ("librispeech_conformer", "statistics of the whole batch"),
        ("ogbg", "packed"),
    ],
)
def test_what_cannot_be_split_is_refused(name, reason, framework):
    with pytest.raises(MicrobatchError, match=reason):
        models(name, framework)


@pytest.mark.torch
def test_parts_keep_the_activations_of_one_part_alone():
    torch = pytest.importorskip("torch")
    batch, whole, in_parts = models("imagenet_vit", "pytorch")
    saved = [_elements_kept(model, torch.as_tensor(batch["inputs"]), torch) for model in (whole, in_parts)]
    assert saved[1] < saved[0] / 2


def _elements_kept(model, images, torch):
    """Elements that the forward pass keeps for the backward pass, parameters aside."""
    module, _ = model.init(None)
    owned, kept = {p.data_ptr() for p in module.parameters()}, []

    def pack(tensor):
        kept.append(tensor.numel() * (tensor.data_ptr() not in owned))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(images, dropout_rate=0.0)
    return sum(kept)
