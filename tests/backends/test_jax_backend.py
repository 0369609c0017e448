"""The JAX backend: workload surface, placement, fence, checkpoints, several devices and processes."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
import small_model  # noqa: E402
import small_model_jax  # noqa: E402

from algoperf import jax_sharding_utils, spec  # noqa: E402
from algoperf.backends.base import StateMismatchError, UnsavableStateError  # noqa: E402
from algoperf.backends.jax import create  # noqa: E402
from algoperf.definition import ParameterType  # noqa: E402

pytestmark = pytest.mark.jax
_WORKER = Path(__file__).with_name("jax_worker.py")


@pytest.fixture(scope="module")
def backend():
    return create()


@pytest.fixture(scope="module")
def workload(backend):
    return backend.build_workload(small_model.DEFINITION, small_model_jax.Model())


# -- the workload that a submission sees


def test_shapes_and_types_have_the_structure_of_the_parameters(backend, workload):
    shapes, types = workload.param_shapes, workload.model_params_types
    params, _ = workload.init_model_fn(jax.random.PRNGKey(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(params) == jax.tree.structure(types)
    assert jax.tree.map(lambda s: s.shape_tuple, shapes) == jax.tree.map(lambda p: p.shape, params)
    assert types["BatchNorm_0"] == {"scale": ParameterType.BATCH_NORM_SCALE, "bias": ParameterType.BATCH_NORM_BIAS}
    assert types["Dense_0"] == {"kernel": ParameterType.WEIGHT}


def test_model_may_override_parameter_types(backend):
    model = small_model_jax.Model()
    model.param_type = lambda name: ParameterType.ATTENTION_OUT if name == "Dense_1/kernel" else None
    types = backend.build_workload(small_model.DEFINITION, model).model_params_types
    assert types["Dense_1"] == {"kernel": ParameterType.ATTENTION_OUT, "bias": ParameterType.BIAS}


def test_mode_decides_and_dropout_defaults_to_the_definition(backend, workload):
    params, state = workload.init_model_fn(jax.random.PRNGKey(0))
    batch = backend.put_batch(small_model.make_batch(8))
    train, evaluate = spec.ForwardPassMode.TRAIN, spec.ForwardPassMode.EVAL
    rng = jax.random.PRNGKey(3)
    default, new_state = workload.model_fn(params, batch, state, train, rng, True)
    stated, frozen_state = workload.model_fn(params, batch, state, train, rng, False, 0.25)
    without, _ = workload.model_fn(params, batch, state, train, rng, False, dropout_rate=0.0)
    evaluated, eval_state = workload.model_fn(params, batch, state, evaluate, rng, True)
    np.testing.assert_array_equal(default, stated)
    assert not np.allclose(default, without)
    assert not np.allclose(evaluated, without)
    assert frozen_state is state
    assert eval_state is state
    assert not np.allclose(new_state["batch_stats"]["BatchNorm_0"]["mean"], 0)


def test_running_averages_on_request_warn_once_where_they_differ(backend, workload):
    params, state = workload.init_model_fn(jax.random.PRNGKey(0))
    batch = backend.put_batch(small_model.make_batch(8))
    arguments = (params, batch, state, spec.ForwardPassMode.TRAIN, jax.random.PRNGKey(3), False)
    plain, _ = workload.model_fn(*arguments, use_running_average_bn=False)
    np.testing.assert_array_equal(plain, workload.model_fn(*arguments)[0])
    with pytest.warns(UserWarning, match="use_running_average_bn"):
        running, _ = workload.model_fn(*arguments, use_running_average_bn=True)
    expected, _ = workload.model_fn(params, batch, state, spec.ForwardPassMode.EVAL, None, False)
    np.testing.assert_array_equal(running, expected)


def test_workload_is_a_static_argument_and_activates_outputs(workload):
    activated = jax.jit(lambda w, x: w.output_activation_fn(x), static_argnums=0)(workload, jnp.zeros((1, 4)))
    np.testing.assert_allclose(activated, np.full((1, 4), 0.25))
    assert workload.is_output_params("Dense_1")
    assert not workload.is_output_params("Dense_0")


def test_evaluation_yields_each_host_batch_with_its_outputs(backend, workload):
    params, state = workload.init_model_fn(jax.random.PRNGKey(0))
    batches = [small_model.make_batch(4, seed) for seed in range(3)]
    results = list(backend.evaluate(workload, params, state, iter(batches)))
    assert [batch is expected for (batch, _), expected in zip(results, batches, strict=True)] == [True] * 3
    for batch, outputs in results:
        logits, _ = workload.model_fn(params, batch, state, spec.ForwardPassMode.EVAL, None, False)
        np.testing.assert_array_equal(outputs["accuracy"], logits.argmax(-1) == batch["targets"])
        assert isinstance(outputs["loss"], np.ndarray)


# -- randomness, fence, memory


def test_keys_are_raw_and_words_become_keys(backend):
    words = np.array([[1, 2], [3, 2**31 - 2]])
    keys = backend.as_keys(words)
    np.testing.assert_array_equal(jax.random.split(keys[1], 2), jax.random.split(jnp.asarray(keys[1]), 2))
    assert not np.array_equal(jax.random.split(keys[0], 2), jax.random.split(keys[1], 2))


def test_fence_waits_for_queued_work_whose_result_was_thrown_away(backend):
    """Work is queued, dropped and fenced; afterwards the process must be idle."""

    @jax.jit
    def slow(x):
        for _ in range(12):
            x = jnp.tanh(x @ x * 1e-3)
        return x

    operand = jax.device_put(jnp.ones((900, 900)), jax.local_devices()[0])
    slow(operand).block_until_ready()
    for _ in range(3):
        slow(operand)
    backend.fence()
    before = time.process_time()
    time.sleep(0.1)
    assert time.process_time() - before < 0.05


def test_fence_raises_the_error_of_a_given_tree_but_not_of_old_arrays(backend):
    donated = jnp.ones(3)
    jax.jit(lambda x: x + 1, donate_argnums=0)(donated)
    backend.fence()
    with pytest.raises(RuntimeError, match="deleted"):
        backend.fence(donated)


def test_out_of_memory_is_told_from_other_errors(backend):
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros((1 << 20, 1 << 20, 1 << 10), jnp.int8).block_until_ready()
    assert backend.is_out_of_memory(caught.value)
    assert backend.is_out_of_memory(MemoryError())
    assert not backend.is_out_of_memory(ValueError("out of memory, says someone"))
    assert not backend.is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: broken"))


def test_device_report_names_devices_and_versions(backend):
    report = json.loads(json.dumps(backend.device_report()))
    assert report["framework_version"] == jax.__version__
    assert len(report["device_names"]) == report["num_local_devices"] == backend.num_local_devices


# -- checkpoints


class Extra(NamedTuple):
    host: np.ndarray
    scalar: np.float32
    number: float
    nothing: None
    text: str


def make_state(workload, backend, seed, steps=1):
    """State after some training, with an optimizer state as submissions return it."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.nadamw(1e-2))
    params, model_state = workload.init_model_fn(jax.random.PRNGKey(seed))
    optax_state = optimizer.init(params)
    batch = backend.put_batch(small_model.make_batch(8, seed))
    for step in range(steps):
        params, model_state, optax_state, _ = small_model_jax.train_step(
            workload, optimizer.update, params, model_state, optax_state, batch, jax.random.PRNGKey(step)
        )
    extra = Extra(np.arange(3, dtype=np.int64) + seed, np.float32(seed), 0.1 + seed, None, f"seed {seed}")
    tree = {
        "optax": optax_state,
        "extra": extra,
        "half": jnp.ones(2, jnp.bfloat16) * seed,
        "keys": jax.random.key(seed),
    }
    return {"model_params": params, "model_state": model_state, "optimizer_state": (tree, optimizer.update)}


def test_state_comes_back_bitwise_in_the_templates_placement(backend, workload, tmp_path):
    state = make_state(workload, backend, seed=1, steps=2)
    template = make_state(workload, backend, seed=7, steps=0)
    backend.save_state(tmp_path, state)
    restored = backend.load_state(tmp_path, template)
    assert restored["optimizer_state"][1] is template["optimizer_state"][1]
    assert jax.tree.structure(restored) == jax.tree.structure(template)
    for saved, back in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
        if callable(saved):
            continue
        assert type(back) is type(saved)
        if isinstance(saved, jax.Array) and saved.dtype == jax.random.key(0).dtype:
            saved, back = jax.random.key_data(saved), jax.random.key_data(back)
        if isinstance(saved, (jax.Array, np.ndarray, np.generic)):
            assert (saved.dtype, saved.shape) == (back.dtype, back.shape)
            assert np.asarray(saved).tobytes() == np.asarray(back).tobytes()
            assert getattr(saved, "weak_type", False) == getattr(back, "weak_type", False)
        else:
            assert saved == back
    for placed, back in zip(jax.tree.leaves(template), jax.tree.leaves(restored), strict=True):
        if isinstance(placed, jax.Array) and placed.committed:
            assert back.sharding.is_equivalent_to(placed.sharding, placed.ndim)


def test_training_goes_on_from_restored_state_as_if_uninterrupted(backend, workload, tmp_path):
    batches = [small_model.make_batch(8, seed) for seed in range(2)]
    fresh = small_model_jax.initial_state(backend, workload)
    once, _ = small_model_jax.train(backend, workload, fresh, range(2), batches)
    backend.save_state(tmp_path, once)
    resumed = backend.load_state(tmp_path, fresh)
    ends = [small_model_jax.train(backend, workload, state, range(2, 4), batches)[0] for state in (once, resumed)]
    for a, b in zip(*(jax.tree.leaves(end) for end in ends), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_saved_is_named(backend, tmp_path):
    state = {"model_params": {}, "model_state": None, "optimizer_state": ({"ema": {"helper": object()}}, None)}
    with pytest.raises(
        UnsavableStateError, match=r"\['optimizer_state'\]\[0\]\['ema'\]\['helper'\] is a builtins.object"
    ):
        backend.save_state(tmp_path, state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda opt: {**opt, "more": jnp.zeros(1)}, "lacks .*more"),
        (lambda opt: {}, "has .*count.* besides"),
        (lambda opt: {"count": jnp.zeros(3, jnp.int32)}, r"shape \(2,\) and dtype int32 in the checkpoint"),
        (lambda opt: {"count": jnp.zeros(2, jnp.float32)}, "float32 in this run"),
    ],
)
def test_checkpoint_of_another_run_is_refused(backend, tmp_path, change, message):
    state = {"model_params": {}, "model_state": None, "optimizer_state": {"count": jnp.zeros(2, jnp.int32)}}
    backend.save_state(tmp_path, state)
    with pytest.raises(StateMismatchError, match=message):
        backend.load_state(tmp_path, {**state, "optimizer_state": change(state["optimizer_state"])})


def test_disk_errors_are_os_errors(backend, tmp_path):
    state = {"model_params": {"w": jnp.zeros(3)}, "model_state": None, "optimizer_state": None}
    (tmp_path / "arrays").write_text("in the way")
    with pytest.raises(OSError, match="cannot write"):
        backend.save_state(tmp_path, state)


def test_damaged_checkpoint_is_a_value_error(backend, tmp_path):
    state = {"model_params": {"w": jnp.zeros(3)}, "model_state": None, "optimizer_state": None}
    backend.save_state(tmp_path, state)
    for path in (tmp_path / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        backend.load_state(tmp_path, state)


# -- several devices and processes


def run_workers(tmp_path, *, num_devices: int, num_processes: int, checkpoint: bool = False):
    """Runs `jax_worker.py`; returns (facts, weights) of rank 0."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={num_devices // num_processes}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
        "PYTHONWARNINGS": "error",
    }
    if num_processes > 1:
        environment |= {"JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}", "JAX_NUM_PROCESSES": str(num_processes)}
    weights_file = tmp_path / f"weights_{num_devices}_{num_processes}.npz"
    command = [sys.executable, str(_WORKER), str(weights_file)]
    if checkpoint:
        (tmp_path / "state").mkdir()
        command.append(str(tmp_path / "state"))
    processes = [
        subprocess.Popen(
            command,
            env={**environment, "JAX_PROCESS_ID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    answers = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, answers, strict=True):
        assert process.returncode == 0, errors
    with np.load(weights_file) as weights:
        return json.loads(answers[0][0].strip().splitlines()[-1]), dict(weights)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    return run_workers(tmp_path_factory.mktemp("one"), num_devices=1, num_processes=1)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_two_devices_follow_the_trajectory_of_one(one_device, tmp_path, num_processes):
    expected_facts, expected_weights = one_device
    facts, weights = run_workers(tmp_path, num_devices=2, num_processes=num_processes, checkpoint=True)
    assert facts["num_devices"] == 2
    assert facts["num_local_devices"] == 2 // num_processes
    assert facts["global_batch"] == [8, small_model.NUM_FEATURES]
    assert facts["rows_per_device"] == [4] * (2 // num_processes)
    assert facts["replicated"]
    assert facts["resumed_equal"]
    assert facts["ranks"] == list(range(num_processes))
    assert facts["max_over_ranks"] == 0.1 + (num_processes - 1)
    assert facts["broadcast"] == ["rank", 0]
    assert max(facts["cpu_after_fence_s"]) < 0.05
    assert not facts["torch_imported"]
    np.testing.assert_allclose(facts["losses"], expected_facts["losses"], rtol=1e-5)
    np.testing.assert_allclose(facts["evaluated"], expected_facts["evaluated"], rtol=1e-4, atol=1e-5)
    for name, value in expected_weights.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_sharding_names_that_submissions_import(capsys):
    assert jax_sharding_utils.get_mesh().axis_names == ("batch",)
    sharded = jax_sharding_utils.shard_along_batch_dim(np.zeros((4, 2)))
    assert sharded.sharding == jax_sharding_utils.get_batch_dim_sharding()
    assert jax_sharding_utils.replicate(np.zeros(3)).sharding == jax_sharding_utils.get_replicate_sharding()
    jax_sharding_utils.display_shard_info(sharded)
    assert "shape (4, 2)" in capsys.readouterr().out


def test_late_reports_of_a_failed_write_are_left_out(monkeypatch):
    from algoperf.backends import jax_checkpoint

    shown: list[str] = []
    monkeypatch.setattr(sys, "__unraisablehook__", lambda report: shown.append(str(report.exc_value)))
    for message in ("Event loop is closed", "something else"):
        report = SimpleNamespace(exc_type=RuntimeError, exc_value=RuntimeError(message))
        jax_checkpoint._unraisablehook(report)
    assert shown == ["something else"]
