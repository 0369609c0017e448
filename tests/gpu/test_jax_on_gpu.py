"""JAX on a GPU: no transfer to the host within a step, the numbers of the CPU, memory, kill and resume, the clock."""

import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import gpu_runs  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from algoperf.backends.jax import JaxBackend, create  # noqa: E402
from algoperf.definition import Tier  # noqa: E402
from algoperf.registry import REGISTRY  # noqa: E402
from algoperf.testing.conformance import parity  # noqa: E402
from algoperf.testing.conformance.workload_fixture import WorkloadFixture  # noqa: E402

pytestmark = pytest.mark.jax
FULL = sorted(d.name for d in map(REGISTRY.get, REGISTRY.names()) if d.tier is Tier.FULL and d.name == d.base)


class AdapterOnCpu:
    """An adapter whose computations take place on the CPU."""

    platform = "cpu"

    def __init__(self, adapter) -> None:
        self._adapter = adapter

    def __getattr__(self, name):
        method = getattr(self._adapter, name)

        def on_cpu(*arguments, **options):
            with jax.default_device(jax.devices("cpu")[0]):
                return method(*arguments, **options)

        return on_cpu


@pytest.mark.parametrize("name", FULL)
def test_training_and_evaluation_give_the_numbers_of_the_cpu(name):
    on_gpu, on_cpu = (WorkloadFixture(REGISTRY, name, "jax") for _ in range(2))
    assert on_gpu.adapter.platform == "gpu"
    on_cpu.adapter = AdapterOnCpu(on_cpu.adapter)
    parity.same_training(on_cpu, on_gpu)
    parity.same_evaluation(on_cpu, on_gpu)


@pytest.mark.parametrize("name", ["criteo1tb", "librispeech_deepspeech", "ogbg"])
def test_a_step_sends_nothing_to_the_host(name):
    backend = create()
    definition = REGISTRY.get(name).shrunk()
    model = REGISTRY.module(name, "jax_model").build(definition)
    workload = backend.build_workload(definition, model)
    params, model_state = workload.init_model_fn(np.array([1, 2], np.uint32))
    batch = backend.put_batch(REGISTRY.module(name, "data").fake_batch(definition, 4, 0))
    optimizer = optax.adamw(1e-3)

    @jax.jit
    def step(params, state, optimizer_state, key):
        def mean_loss(params):
            logits, new_state = model.forward(
                params, batch, state, train=True, rng=key, update_batch_norm=True, dropout_rate=0.1
            )
            loss = model.loss(batch["targets"], logits, batch.get("weights"), 0.0)
            return loss["summed"] / loss["n_valid_examples"], new_state

        gradients, new_state = jax.grad(mean_loss, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return optax.apply_updates(params, updates), new_state, optimizer_state

    state = params, model_state, optimizer.init(params)
    with jax.transfer_guard_device_to_host("disallow"):
        for number in range(3):
            state = step(*state, np.array([0, number], np.uint32))
    backend.fence(state)


def test_the_fence_waits_for_queued_work():
    backend = create()
    chain = jax.jit(lambda m: jax.lax.fori_loop(0, 200, lambda i, m: jnp.tanh(m @ m), m))
    matrix = chain(jnp.ones((4096, 4096))).block_until_ready()
    matrix = chain(matrix)
    assert not matrix.is_ready(), "nothing is left to wait for"
    backend.fence()
    assert matrix.is_ready()


def test_out_of_memory_in_training(tmp_path):
    gpu_runs.check_out_of_memory_in_training("jax", tmp_path)


def test_out_of_memory_in_an_evaluation(tmp_path, monkeypatch):
    gpu_runs.check_out_of_memory_in_an_evaluation(
        "jax", tmp_path, JaxBackend, lambda: jnp.zeros(1 << 45).block_until_ready(), monkeypatch
    )


def test_kill_and_resume(tmp_path):
    gpu_runs.check_kill_and_resume("jax", tmp_path)


def test_the_ledger_holds_what_was_slept_and_queued():
    command = [sys.executable, str(gpu_runs.ROOT / "benchmarks/clock_selftest.py"), "--framework=jax"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=gpu_runs.ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
