"""JAX: the memory of a training step is foretold without compiling it, and too small a device is named before."""

import re

import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from algoperf.backends.jax import create  # noqa: E402
from algoperf.backends.jax_memory import _peak_bytes, shortage, training_bytes  # noqa: E402
from algoperf.registry import REGISTRY  # noqa: E402

pytestmark = pytest.mark.jax
# GB at the peak of training on an NVIDIA H200, of docs/performance/2026-11-27-h200.json.
SEEN_ON_A_GPU = {"criteo1tb": (65_536, 10.89), "imagenet_resnet": (256, 22.83), "ogbg": (512, 1.37)}
NUMBERS = 1000
ARRAY_BYTES = 4 * NUMBERS


def peak_bytes(function, *sizes):
    arguments = [jax.ShapeDtypeStruct((size,), jnp.float32) for size in sizes]
    return _peak_bytes(jax.make_jaxpr(function)(*arguments).jaxpr)


def small(name, rows):
    definition = REGISTRY.get(name).shrunk()
    model = REGISTRY.module(name, "jax_model").build(definition)
    return model, REGISTRY.module(name, "data").fake_batch(definition, rows, 0)


def test_chains_of_cheap_operations_take_their_result_alone():
    assert peak_bytes(lambda x: ((x + 1) * 2).reshape(10, -1) - 3, NUMBERS) == ARRAY_BYTES


def test_what_a_matrix_product_reads_is_in_memory_until_then():
    def products(x):
        doubled = x.reshape(10, -1) * 2
        return doubled @ jnp.ones((100, 1))

    # doubled, and ten numbers of the product
    assert peak_bytes(products, NUMBERS) == ARRAY_BYTES + 40


def test_costly_results_with_two_readers_are_kept_and_cheap_ones_computed_again():
    def two_readers(of):
        def function(x):
            y = of(x)
            first = jnp.sort(y + 1)[0]
            return y * first

        return function

    # While sorting: input and output of the sort.
    assert peak_bytes(two_readers(lambda x: x - 1), NUMBERS) == 2 * ARRAY_BYTES
    assert peak_bytes(two_readers(jnp.tanh), NUMBERS) == 3 * ARRAY_BYTES


def test_a_loop_takes_what_its_body_takes_besides_its_results():
    def loop(x):
        return jax.lax.scan(lambda carry, _: (jnp.sort(jnp.sort(carry)), carry.sum()), x, None, length=7)

    assert peak_bytes(loop, NUMBERS) == ARRAY_BYTES + 7 * 4 + 2 * ARRAY_BYTES


@pytest.mark.parametrize("name", SEEN_ON_A_GPU)
def test_the_forecast_of_a_full_workload_is_near_what_a_gpu_took(name):
    rows, seen_gb = SEEN_ON_A_GPU[name]
    definition = REGISTRY.get(name)
    model = REGISTRY.module(name, "jax_model").build(definition)
    batch = REGISTRY.module(name, "data").fake_batch(definition, rows, 0)
    assert training_bytes(model, batch) / 1e9 == pytest.approx(seen_gb, rel=0.25)


def test_what_would_fit_is_named():
    model, batch = small("criteo1tb", 8)
    needed = training_bytes(model, batch)
    assert shortage(model, batch, needed) is None
    fitting = int(re.search(r"about (\d+) would fit, see --max_device_batch", shortage(model, batch, needed - 1))[1])
    assert fitting == 4
    assert "would fit" not in shortage(model, batch, 1000)


@pytest.mark.parametrize("name", sorted(SEEN_ON_A_GPU))
def test_every_workload_says_how_many_examples_need_too_much(name):
    model, batch = small(name, 2)
    assert f"on {len(batch['targets'])} examples" in shortage(model, batch, 1000)
    assert shortage(model, batch, 10**15) is None


def test_a_model_that_looks_at_values_has_no_forecast(monkeypatch):
    model, batch = small("criteo1tb", 8)
    workload = create().build_workload(REGISTRY.get("criteo1tb").shrunk(), model)
    assert "would" in workload.memory_shortage(batch, training_bytes(model, batch) - 1)
    plain = model.loss
    monkeypatch.setattr(model, "loss", lambda labels, logits, *rest: plain(labels, logits * logits.max().item(), *rest))
    assert workload.memory_shortage(batch, 1) is None


class Device:
    """A device that says how much memory the process may use."""

    def memory_stats(self):
        return {"bytes_limit": 1000}


@pytest.mark.parametrize("max_rows", [None, 2])
def test_a_device_that_says_what_it_has_is_compared_with_its_share_of_a_batch(max_rows, monkeypatch):
    backend, definition = create(), REGISTRY.get("criteo1tb").shrunk()
    model, batch = small("criteo1tb", 8)
    if max_rows is not None:
        model = backend.microbatched(definition, model, max_rows, batch)
    workload = backend.build_workload(definition, model)
    monkeypatch.setattr(backend, "num_local_devices", 2)
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    with pytest.warns(UserWarning, match=rf"a step with AdamW on {max_rows or 4} examples for this device takes about"):
        prepared = backend.prepare_model(workload, "params", compile_model=None, sample_batch=lambda: batch)
    assert prepared == "params"
