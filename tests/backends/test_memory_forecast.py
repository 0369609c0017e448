"""PyTorch: the memory of a training step is foretold without running it, and too small a device is named before."""

import re

import pytest

torch = pytest.importorskip("torch")

from algoperf.backends.torch import TorchBackend  # noqa: E402
from algoperf.backends.torch_memory import LiveBytes, shortage, training_bytes  # noqa: E402
from algoperf.registry import REGISTRY  # noqa: E402

pytestmark = pytest.mark.torch
# GB at the peak of training on an NVIDIA H200, of docs/performance/2026-11-26-h200.json (eager, float32).
SEEN_ON_A_GPU = {
    "criteo1tb": (65_536, 11.8),
    "fastmri": (8, 3.6),
    "imagenet_resnet": (256, 23.4),
    "imagenet_vit": (256, 15.9),
    "librispeech_conformer": (32, 12.8),
    "librispeech_deepspeech": (32, 12.6),
    "ogbg": (512, 2.0),
    "wmt": (64, 21.6),
}


def small(name, rows):
    definition = REGISTRY.get(name).shrunk()
    model = REGISTRY.module(name, "torch_model").build(definition)
    batch = TorchBackend(torch.device("cpu")).put_batch(REGISTRY.module(name, "data").fake_batch(definition, rows, 0))
    return model, batch


def test_live_bytes_count_storages_while_they_live():
    with LiveBytes() as live:
        first = torch.zeros(1000)
        view = first[10:]
        second = first + 1
        assert live.now == 8000
        del first, second
        assert live.now == 4000, "the view keeps its storage"
        del view
    assert (live.now, live.peak) == (0, 8000)


@pytest.mark.parametrize("name", ["criteo1tb", "imagenet_resnet", "librispeech_deepspeech", "ogbg", "wmt"])
def test_the_forecast_of_a_full_workload_is_near_what_a_gpu_took(name):
    rows, seen_gb = SEEN_ON_A_GPU[name]
    definition = REGISTRY.get(name)
    model = REGISTRY.module(name, "torch_model").build(definition)
    batch = REGISTRY.module(name, "data").fake_batch(definition, rows, 0)
    batch = TorchBackend(torch.device("cpu")).put_batch(batch)
    assert training_bytes(model, batch) / 1e9 == pytest.approx(seen_gb, rel=0.25)


def test_what_would_fit_is_named():
    model, batch = small("imagenet_vit", 8)
    needed = training_bytes(model, batch)
    assert shortage(model, batch, needed) is None
    message = shortage(model, batch, needed - 1)
    assert message is not None
    fitting = int(re.search(r"about (\d+) would fit, see --max_device_batch", message)[1])
    assert fitting == 4
    assert "would fit" not in shortage(model, batch, 1000)


@pytest.mark.parametrize("name", sorted(SEEN_ON_A_GPU))
def test_every_workload_says_how_many_examples_need_too_much(name):
    model, batch = small(name, 2)
    assert f"on {len(batch['targets'])} examples" in shortage(model, batch, 1000)
    assert shortage(model, batch, 10**15) is None


def test_a_model_that_looks_at_values_has_no_forecast(monkeypatch):
    model, batch = small("imagenet_vit", 8)
    definition = REGISTRY.get("imagenet_vit").shrunk()
    workload = TorchBackend(torch.device("cpu")).build_workload(definition, model)
    assert "would" in workload.memory_shortage(batch, training_bytes(model, batch) - 1)
    plain = model.loss
    monkeypatch.setattr(model, "loss", lambda labels, logits, *rest: plain(labels, logits * logits.max().item(), *rest))
    assert workload.memory_shortage(batch, 1) is None
