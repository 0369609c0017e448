"""PyTorch on a GPU: no wait for the device within a step, streams and copies, memory, kill and resume, determinism."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import gpu_runs  # noqa: E402

from algoperf.backends.torch import TorchBackend, create  # noqa: E402
from algoperf.definition import LossType, Tier  # noqa: E402
from algoperf.registry import REGISTRY  # noqa: E402
from algoperf.submissions.loading import load_submission  # noqa: E402

pytestmark = pytest.mark.torch
FULL = sorted(d.name for d in map(REGISTRY.get, REGISTRY.names()) if d.tier is Tier.FULL and d.name == d.base)
HYPERPARAMETERS = SimpleNamespace(
    learning_rate=1e-3, one_minus_beta1=0.1, beta2=0.999, weight_decay=0.01, warmup_factor=0.05
)


@pytest.fixture
def settings():
    """Puts the process's settings back."""
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.use_deterministic_algorithms(False)
    for kernel in ("flash", "mem_efficient", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(True)


class Training:
    """Steps of AdamW on a small version of a workload, as the harness takes them."""

    def __init__(self, name: str, **options) -> None:
        self.backend = create(**options)
        definition = REGISTRY.get(name).shrunk()
        self.workload = self.backend.build_workload(definition, REGISTRY.module(name, "torch_model").build(definition))
        self.submission = load_submission("reference_algorithms.adamw.torch_submission")
        self.params, _ = self.workload.init_model_fn(np.array([1, 2], np.int32))
        self.state = self.submission.init_optimizer_state(
            workload=self.workload,
            model_params=self.params,
            model_state=None,
            hyperparameters=HYPERPARAMETERS,
            rng=None,
        )
        self.batch = self.backend.put_batch(REGISTRY.module(name, "data").fake_batch(definition, 4, 0))

    def step(self, number: int) -> None:
        self.backend.seed_global(0, number)
        self.state, self.params, _ = self.submission.update_params(
            workload=self.workload,
            current_param_container=self.params,
            current_params_types=None,
            model_state=None,
            hyperparameters=HYPERPARAMETERS,
            batch=self.batch,
            loss_type=None,
            optimizer_state=self.state,
            eval_results=[],
            global_step=number,
            rng=None,
        )


@pytest.mark.parametrize("name", FULL)
def test_a_step_does_not_wait_for_the_device(name, settings):
    training = Training(name)
    for number in range(1, 4):
        training.step(number)
    training.backend.fence()
    if training.workload.loss_type is LossType.CTC_LOSS:  # asks the host for the lengths; the model must not
        torch.cuda.set_sync_debug_mode("error")
        logits, _ = training.workload.forward(
            training.params, training.batch, None, train=True, rng=None, update_batch_norm=True, dropout_rate=0.1
        )
        logits[0].sum().backward()
    else:
        torch.cuda.set_sync_debug_mode("error")
        training.step(5)
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
@pytest.mark.parametrize("name", ["criteo1tb", "ogbg", "wmt"])
def test_deterministic_steps_give_the_same_bits_again(name, settings):
    results = []
    for _ in range(2):
        training = Training(name, deterministic=True)
        for number in range(5):
            training.step(number)
        results.append([p.detach().cpu() for p in training.params.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_fence_waits_for_a_stream_of_the_submission():
    backend = create()
    stream, done = torch.cuda.Stream(), torch.cuda.Event()
    matrix = torch.randn(4096, 4096, device=backend.device)
    backend.fence()
    with torch.cuda.stream(stream):
        for _ in range(200):
            matrix = (matrix @ matrix).tanh()
        done.record()
    assert not done.query(), "nothing is left to wait for"
    backend.fence()
    assert done.query()


def test_batches_arrive_whole_while_the_device_computes():
    backend = create()
    generator = np.random.default_rng(0)
    matrix = torch.randn(2048, 2048, device=backend.device)
    for _ in range(20):
        matrix = (matrix @ matrix).tanh()
        array = generator.standard_normal((1000, 257)).astype(np.float32)
        on_device = backend.put_batch({"inputs": array})["inputs"]
        doubled = on_device * 2
        np.testing.assert_array_equal(doubled.cpu().numpy(), array * 2)
    backend.fence()


def test_out_of_memory_in_training(tmp_path):
    gpu_runs.check_out_of_memory_in_training("pytorch", tmp_path)


def test_out_of_memory_in_an_evaluation(tmp_path, monkeypatch):
    gpu_runs.check_out_of_memory_in_an_evaluation(
        "pytorch", tmp_path, TorchBackend, lambda: torch.zeros(1 << 45, device="cuda"), monkeypatch
    )


def test_kill_and_resume(tmp_path, settings):
    gpu_runs.check_kill_and_resume("pytorch", tmp_path)


def test_the_ledger_holds_what_was_slept():
    command = [sys.executable, str(gpu_runs.ROOT / "benchmarks/clock_selftest.py"), "--framework=pytorch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=gpu_runs.ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_model_compiles_at_the_start_and_not_again():
    backend = create()
    definition = REGISTRY.get("ogbg").shrunk()
    workload = backend.build_workload(definition, REGISTRY.module("ogbg", "torch_model").build(definition))
    params, _ = workload.init_model_fn(np.array([1, 2], np.int32))
    data = REGISTRY.module("ogbg", "data")
    prepared = backend.prepare_model(
        workload, params, compile_model=None, sample_batch=lambda: data.fake_batch(definition, 4, 0)
    )
    assert prepared is not params, "a GPU compiles by default"
    counts = []
    for seed in range(3):
        batch = backend.put_batch(data.fake_batch(definition, 4, seed))
        logits, _ = workload.forward(
            prepared, batch, None, train=True, rng=None, update_batch_norm=True, dropout_rate=0.1
        )
        workload.loss_fn(batch["targets"], logits, batch["weights"])["summed"].backward()
        counts.append(backend.device_report()["num_compilations_of_process"])
    assert counts[0] == counts[1] == counts[2] > 0
