"""The PyTorch backend: workload surface, keys, checkpoints, compilation adapter, several processes."""

import copy
import functools
import json
import os
import subprocess
import sys
import warnings
from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import small_model  # noqa: E402
import small_model_torch  # noqa: E402
from torch import nn  # noqa: E402

from algoperf import pytorch_utils, spec  # noqa: E402
from algoperf.backends.base import StateMismatchError, UnsavableStateError  # noqa: E402
from algoperf.backends.torch import create, use_plain_attention  # noqa: E402
from algoperf.definition import ParameterType  # noqa: E402
from algoperf.harness.seeds import Seeds  # noqa: E402

pytestmark = pytest.mark.torch
_WORKER = Path(__file__).with_name("torch_worker.py")


@pytest.fixture(scope="module")
def backend():
    return create()


@pytest.fixture
def workload(backend):
    return backend.build_workload(small_model.DEFINITION, small_model_torch.Model())


# -- keys


def test_step_seeds_differ_and_repeat(backend):
    draws = set()
    for seed, step in [(0, 0), (0, 1), (1, 0), (1, 1), (-1, 0), (2**40, 0)]:
        backend.seed_global(seed, step)
        draws.add(torch.rand(1).item())
    assert len(draws) == 6
    backend.seed_global(1, 1)
    assert torch.rand(1).item() in draws


# -- the workload that a submission sees


def test_shapes_and_types_are_known_before_the_model_exists(backend, workload):
    before = torch.get_rng_state()
    shapes, types = workload.param_shapes, workload.model_params_types
    assert torch.equal(torch.get_rng_state(), before)
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    assert {name: shape.shape_tuple for name, shape in shapes.items()} == {
        name: tuple(tensor.shape) for name, tensor in params.named_parameters()
    }
    assert types == {
        "hidden.weight": ParameterType.WEIGHT,
        "bn.weight": ParameterType.BATCH_NORM_SCALE,
        "bn.bias": ParameterType.BATCH_NORM_BIAS,
        "output.weight": ParameterType.WEIGHT,
        "output.bias": ParameterType.BIAS,
    }


def test_shapes_of_a_module_that_needs_values_to_be_built(backend):
    class Picky(small_model_torch.Network):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(int(self.hidden.weight.abs().sum().item() > 0) + 1))

    workload = backend.build_workload(small_model.DEFINITION, small_model_torch.Model(Picky))
    assert workload.param_shapes["scale"].shape_tuple == (2,)


def test_mode_decides_and_dropout_defaults_to_the_definition(backend, workload):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    batch = backend.put_batch(small_model.make_batch(8))

    def logits(mode, update_batch_norm, **kwargs):
        backend.seed_global(0, 0)
        return workload.model_fn(params, batch, None, mode, None, update_batch_norm, **kwargs)[0]

    train, evaluate = spec.ForwardPassMode.TRAIN, spec.ForwardPassMode.EVAL
    default = logits(train, False)
    assert torch.equal(default, logits(train, False, dropout_rate=0.25))
    assert not torch.equal(default, logits(train, False, dropout_rate=0.0))
    assert torch.equal(params.bn.running_mean, torch.zeros(small_model.NUM_HIDDEN))
    assert not logits(evaluate, True).requires_grad
    assert torch.equal(params.bn.running_mean, torch.zeros(small_model.NUM_HIDDEN))
    logits(train, True)
    assert not torch.equal(params.bn.running_mean, torch.zeros(small_model.NUM_HIDDEN))


def test_initial_values_follow_the_key(backend, workload):
    first, again, other = (workload.init_model_fn(Seeds(backend, seed).model_init)[0] for seed in (1, 1, 2))
    assert torch.equal(first.hidden.weight, again.hidden.weight)
    assert not torch.equal(first.hidden.weight, other.hidden.weight)


def test_evaluation_yields_each_host_batch_and_restores_the_mode(backend, workload):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    params.train()
    batches = [small_model.make_batch(4, seed) for seed in range(3)]
    results = list(backend.evaluate(workload, params, None, iter(batches)))
    assert [batch is expected for (batch, _), expected in zip(results, batches, strict=True)] == [True] * 3
    assert params.training
    for batch, outputs in results:
        logits, _ = workload.model_fn(params, backend.put_batch(batch), None, spec.ForwardPassMode.EVAL, None, False)
        np.testing.assert_array_equal(outputs["accuracy"], logits.argmax(-1).numpy() == batch["targets"])


def test_batches_keep_their_structure_and_dtypes(backend):
    frozen = np.arange(3)
    frozen.flags.writeable = False
    batch = backend.put_batch({"inputs": (frozen, np.ones((2, 2), bool)), "targets": {"a": np.float32([1])}})
    assert batch["inputs"][0].dtype == torch.int64
    assert batch["inputs"][1].dtype == torch.bool
    assert batch["targets"]["a"].tolist() == [1.0]


def test_out_of_memory_is_told_from_other_errors(backend):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert backend.is_out_of_memory(caught.value)
    assert backend.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not backend.is_out_of_memory(ValueError("out of memory, says someone"))
    assert not backend.is_out_of_memory(RuntimeError("shapes differ"))


def test_device_report_is_json(backend):
    assert json.loads(json.dumps(backend.device_report()))["framework_version"] == torch.__version__


# -- checkpoints


class Pair(NamedTuple):
    left: torch.Tensor
    right: int


class Average:
    """Something with a state, as submissions have it."""

    def __init__(self):
        self.values = {"w": torch.zeros(2)}

    def state_dict(self):
        return {"values": self.values, "limits": {1.5, 2.5}}

    def load_state_dict(self, state):
        self.values = state["values"]
        self.limits = state["limits"]


def make_state(backend, workload, seed, num_steps):
    """State after some training, with everything that an optimizer state may hold."""
    params, _ = workload.init_model_fn(Seeds(backend, seed).model_init)
    optimizer = torch.optim.NAdam(params.parameters(), lr=1e-2)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    optimizer_state = {
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[3]),
        "average": Average(),
        "momenta": [torch.zeros(2, dtype=torch.bfloat16), None],
        "pair": Pair(torch.ones(1), 0),
        "queue": deque([np.zeros(2)], maxlen=4),
        "numbers": (1, 0.1, "text", None, True, np.float64(0.1)),
        "loss": functools.partial(pow, 2),
    }
    for step in range(num_steps):
        backend.seed_global(seed, step)
        batch = backend.put_batch(small_model.make_batch(8, step))
        small_model_torch.train_step(backend, workload, params, optimizer, batch)
        optimizer_state["scheduler"].step()
        optimizer_state["average"].values["w"] += step + 1
        optimizer_state["momenta"][0] += 0.1
        optimizer_state["queue"].append(np.full(2, step, np.float32))
        optimizer_state["pair"] = Pair(torch.full((1,), 3.0), step)
    return {"model_params": params, "model_state": None, "optimizer_state": optimizer_state}


def test_state_comes_back_bitwise_and_training_goes_on_as_if_uninterrupted(backend, workload, tmp_path):
    state = make_state(backend, workload, seed=0, num_steps=5)
    template = make_state(backend, workload, seed=3, num_steps=0)
    objects = {name: id(value) for name, value in template["optimizer_state"].items()}
    backend.save_state(tmp_path, state)
    restored = backend.load_state(tmp_path, template)

    assert restored["model_params"] is template["model_params"]
    opt = restored["optimizer_state"]
    assert list(opt) == list(state["optimizer_state"])
    assert all(id(opt[name]) == objects[name] for name in ("optimizer", "scheduler", "average", "momenta", "loss"))
    assert opt["average"].values["w"].tolist() == [15.0, 15.0]
    assert opt["average"].limits == {1.5, 2.5}
    assert torch.equal(opt["momenta"][0], state["optimizer_state"]["momenta"][0])
    assert opt["pair"] == Pair(torch.full((1,), 3.0), 4)
    assert opt["numbers"] == state["optimizer_state"]["numbers"]
    assert opt["queue"].maxlen == 4
    assert [item.tolist() for item in opt["queue"]] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert opt["queue"][0].dtype == np.float32

    batch = backend.put_batch(small_model.make_batch(8, 77))
    for run in (state, restored):
        backend.seed_global(0, 9)
        optimizer = run["optimizer_state"]["optimizer"]
        small_model_torch.train_step(backend, workload, run["model_params"], optimizer, batch)
        run["optimizer_state"]["scheduler"].step()
    for name, tensor in state["model_params"].state_dict().items():
        assert torch.equal(tensor, restored["model_params"].state_dict()[name]), name
    rates = [run["optimizer_state"]["scheduler"].get_last_lr() for run in (state, restored)]
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"deep": [object()]}, r"optimizer_state\['entry'\]\['deep'\]\[0\] is a builtins.object"),
        (np.array([object()]), r"optimizer_state\['entry'\] is a numpy.ndarray"),
        ({torch.zeros(1): 1}, r"optimizer_state\['entry'\] has a key of type Tensor"),
    ],
)
def test_what_cannot_be_saved_is_named(backend, workload, tmp_path, value, message):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    state = {"model_params": params, "model_state": None, "optimizer_state": {"entry": value}}
    with pytest.raises(UnsavableStateError, match=message):
        backend.save_state(tmp_path, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({}, r"object with load_state_dict at optimizer_state\['optimizer'\]"),
        (
            {"optimizer": torch.optim.SGD([nn.Parameter(torch.zeros(1))] * 1)},
            r"optimizer_state\['optimizer'\] does not",
        ),
        ({"optimizer": None}, "NoneType"),
    ],
)
def test_checkpoint_of_another_run_is_refused(backend, workload, tmp_path, template, message):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    optimizer = torch.optim.SGD(params.parameters(), lr=0.1)
    state = {"model_params": params, "model_state": None, "optimizer_state": {"optimizer": optimizer}}
    backend.save_state(tmp_path, state)
    with pytest.raises(StateMismatchError, match=message):
        backend.load_state(tmp_path, {**state, "optimizer_state": template})


def test_other_models_and_shapes_are_refused(backend, workload, tmp_path):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    state = {"model_params": params, "model_state": None, "optimizer_state": {"m": torch.zeros(2)}}
    backend.save_state(tmp_path, state)
    with pytest.raises(StateMismatchError, match=r"\['m'\] has shape \(2,\)"):
        backend.load_state(tmp_path, {**state, "optimizer_state": {"m": torch.zeros(3)}})
    with pytest.raises(StateMismatchError, match="model does not fit"):
        backend.load_state(tmp_path, {**state, "model_params": nn.Linear(1, 1)})


def test_tensors_whose_shape_or_dtype_changes_in_training_are_resumed(backend, workload, tmp_path):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    initial = {"history": torch.zeros(1, 2), "levels": [torch.zeros(3), torch.zeros(2)], "m": torch.zeros(2)}
    fresh = backend.place_state(copy.deepcopy(initial))
    trained = {"history": torch.ones(4, 2), "levels": [torch.ones(5), torch.ones(2).half()], "m": torch.ones(2)}
    backend.save_state(tmp_path, {"model_params": params, "model_state": None, "optimizer_state": trained})
    template = {"model_params": params, "model_state": None, "optimizer_state": fresh}
    restored = backend.load_state(tmp_path, template)["optimizer_state"]
    assert restored is fresh
    for name in ("history", "m"):
        torch.testing.assert_close(restored[name], trained[name], rtol=0, atol=0)
    assert [level.dtype for level in restored["levels"]] == [torch.float32, torch.float16]
    torch.testing.assert_close(restored["levels"], trained["levels"], rtol=0, atol=0)
    other = {**template, "optimizer_state": {**initial, "history": torch.zeros(1, 3)}}
    with pytest.raises(StateMismatchError, match=r"\['history'\] has shape \(1, 2\) and dtype torch.float32"):
        backend.load_state(tmp_path, other)


def test_disk_errors_are_os_errors(backend, workload, tmp_path):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    state = {"model_params": params, "model_state": None, "optimizer_state": {}}
    with pytest.raises(OSError, match="absent"):
        backend.save_state(tmp_path / "absent", state)


def test_damaged_checkpoint_is_a_value_error(backend, workload, tmp_path):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    state = {"model_params": params, "model_state": None, "optimizer_state": {}}
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match=r"state.pt cannot be read"):
        backend.load_state(tmp_path, state)


# -- compilation


def test_a_model_that_does_not_compile_runs_as_it_is(backend, workload, monkeypatch):
    def broken_compiler(function):
        raise RuntimeError("no kernel for this layer\nlong explanation")

    monkeypatch.setattr(torch, "compile", broken_compiler)
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    with pytest.warns(UserWarning, match=r"failed on this workload \(RuntimeError: no kernel for this layer\)"):
        prepared = backend.prepare_model(
            workload, params, compile_model=True, sample_batch=lambda: small_model.make_batch(4)
        )
    assert prepared is params


def test_advice_against_the_chosen_precision_does_not_end_a_trial_compilation(backend, workload, monkeypatch):
    @functools.cache  # once in a process
    def advise():
        warnings.warn("TensorFloat32 tensor cores for float32 matrix multiplication available", stacklevel=2)

    def compiler(function):
        advise()
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    sample = functools.partial(small_model.make_batch, 4)
    backend.prepare_model(
        workload, params, compile_model=True, sample_batch=sample
    )  # no warning, which were an error here


def test_deterministic_attention_is_the_plain_one_with_the_same_numbers():
    queries, keys, values = torch.randn(3, 2, 4, 8, 16).unbind()
    fused = nn.functional.scaled_dot_product_attention(queries, keys, values)
    kernels = [f"{kernel}_sdp" for kernel in ("flash", "mem_efficient", "cudnn")]
    try:
        use_plain_attention()
        assert not any(getattr(torch.backends.cuda, f"{kernel}_enabled")() for kernel in kernels)
        plain = nn.functional.scaled_dot_product_attention(queries, keys, values)
    finally:
        for kernel in kernels:
            getattr(torch.backends.cuda, f"enable_{kernel}")(True)
    torch.testing.assert_close(plain, fused)


@pytest.fixture
def fast_compiler(monkeypatch):
    """The compiler without what only pays for many or large kernels: trials of vector units, precompiled headers."""
    from torch._inductor import config

    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    with config.patch({"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False}):
        yield


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("fast_compiler")
def test_a_compiled_model_trains_like_the_plain_one(backend, workload, tmp_path):
    """What is compiled on trial is not kept: the first step compiles. Later steps do not."""
    backend.use_compilation_cache(tmp_path / "kept", is_shared=False)
    num_compilations = []
    batch = small_model.make_batch(8)
    trained = []
    for compile_model in (False, True):
        params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
        generator = torch.get_rng_state()
        prepared = backend.prepare_model(workload, params, compile_model=compile_model, sample_batch=lambda: batch)
        assert (prepared is not params) == compile_model
        assert torch.equal(torch.get_rng_state(), generator)
        assert not any((tmp_path / "kept").rglob("*.so"))
        optimizer = torch.optim.SGD(prepared.parameters(), lr=0.1)
        for update_batch_norm in (True, False, True, False):
            num_compilations.append(backend.device_report()["num_compilations_of_process"])
            logits, _ = workload.model_fn(
                prepared, backend.put_batch(batch), None, spec.ForwardPassMode.TRAIN, None, update_batch_norm, 0.0
            )
            loss = workload.loss_fn(torch.as_tensor(batch["targets"]), logits, torch.as_tensor(batch["weights"]))
            loss["summed"].backward()
            optimizer.step()
        trained.append(pytorch_utils.unwrapped(prepared).state_dict())
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-4, atol=1e-5)
    assert any((tmp_path / "kept").rglob("*.so"))
    assert num_compilations[4] < num_compilations[5] < num_compilations[6] == num_compilations[7]


def test_without_a_batch_nothing_is_compiled(backend, workload):
    params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
    with pytest.warns(UserWarning, match="no batch to try it on"):
        assert backend.prepare_model(workload, params, compile_model=True) is params


# -- several processes


def run_workers(tmp_path, *, num_processes: int):
    """Runs `torch_worker.py`; returns (facts, weights) of rank 0."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    launcher = torchrun if num_processes > 1 else []
    weights_file = tmp_path / f"weights_{num_processes}.npz"
    command = [
        sys.executable,
        *(launcher if num_processes > 1 else []),
        str(_WORKER),
        str(weights_file),
        str(tmp_path / f"state_{num_processes}"),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with np.load(weights_file) as weights:
        return json.loads(done.stdout.strip().splitlines()[-1]), dict(weights)


def test_two_processes_follow_the_trajectory_of_one(tmp_path):
    """Batch norm included: its statistics are those of the global batch."""
    expected_facts, expected_weights = run_workers(tmp_path, num_processes=1)
    facts, weights = run_workers(tmp_path, num_processes=2)
    assert facts["num_devices"] == facts["world_size"] == 2
    assert facts["wrapped"] == ["DistributedDataParallel", "DistributedDataParallel"]
    assert facts["ranks"] == [0, 1]
    assert facts["max_over_ranks"] == 1.1
    assert facts["broadcast"] == ["rank", 0]
    assert facts["files"] == ["rank_1.pt", "state.pt"]
    assert facts["own_states"] == [[0.0, 0.0], [1.0, 1.0]]
    assert facts["restored_equal"]
    assert len(set(facts["dropout_draws"])) == 2
    assert not facts["jax_imported"]
    for losses in (facts["losses"], facts["losses_with_unused"]):
        np.testing.assert_allclose(losses, expected_facts["losses"], rtol=1e-5)
    np.testing.assert_allclose(facts["evaluated"], expected_facts["evaluated"], rtol=1e-4, atol=1e-5)
    for name, value in expected_weights.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_names_that_submissions_import(monkeypatch):
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    use_ddp, rank, _, num_devices = pytorch_utils.pytorch_setup()
    assert (use_ddp, rank, num_devices) == (False, 0, 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert pytorch_utils.pytorch_setup()[::3] == (True, 2)
    assert pytorch_utils.sync_ddp_time(1.5, torch.device("cpu")) == 1.5
    network = small_model_torch.Network()
    network.apply(functools.partial(pytorch_utils.update_batch_norm_fn, update_batch_norm=False))
    assert not network.bn.update_running_stats


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_batches_keys_fence_and_checkpoints_work(tmp_path):
    backend = create()
    workload = backend.build_workload(small_model.DEFINITION, small_model_torch.Model())
    batch = backend.put_batch(small_model.make_batch(8))
    assert batch["inputs"].device == backend.device
    np.testing.assert_array_equal(batch["inputs"].cpu(), small_model.make_batch(8)["inputs"])
    backend.seed_global(0, 1)
    first = torch.rand(3, device=backend.device)
    backend.seed_global(0, 1)
    assert torch.equal(first, torch.rand(3, device=backend.device))
    state = make_state(backend, workload, seed=0, num_steps=3)
    backend.save_state(tmp_path, state)
    restored = backend.load_state(tmp_path, make_state(backend, workload, seed=1, num_steps=0))
    backend.fence(restored)
    for run in (state, restored):
        backend.seed_global(0, 9)
        small_model_torch.train_step(backend, workload, run["model_params"], run["optimizer_state"]["optimizer"], batch)
    for name, tensor in state["model_params"].state_dict().items():
        torch.testing.assert_close(tensor, restored["model_params"].state_dict()[name])
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(1 << 50, device=backend.device)
    assert backend.is_out_of_memory(caught.value)
    assert json.loads(json.dumps(backend.device_report()))["driver_version"]
