"""Training steps of the full-size criteo1tb and ogbg models on a small batch, with peak memory.

`python benchmarks/criteo_ogbg_full_models.py --workload=criteo1tb --framework=jax [--batch=1024] [--steps=3]`. Plain
SGD, so that peak memory shows what model and gradient take; needs about 5 GiB for criteo1tb.
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np

from algoperf.definition import FRAMEWORKS, JAX, PYTORCH
from algoperf.registry import REGISTRY

_GIB = 1 << 30
_MODE = {"train": True, "update_batch_norm": True, "dropout_rate": 0.0}
_RATE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workload", default="criteo1tb")
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), default=JAX.name)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    definition = REGISTRY.get(arguments.workload)
    batch = REGISTRY.module(definition.name, "data").fake_batch(definition, arguments.batch, seed=0)
    steps = {JAX.name: _jax_steps, PYTORCH.name: _torch_steps}[arguments.framework]
    parameters = definition.checks.parameter_count * 4 / _GIB
    print(f"{definition.name}, {arguments.framework}: parameters take {parameters:.2f} GiB")
    started, take_step = time.perf_counter(), steps(definition.name, definition, batch)
    print(f"initialised in {time.perf_counter() - started:.1f} s, peak {_peak_gib():.2f} GiB")
    for number in range(arguments.steps):
        started = time.perf_counter()
        loss = take_step()
        print(f"step {number}: loss {loss:.4f}, {time.perf_counter() - started:.2f} s, peak {_peak_gib():.2f} GiB")


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB


def _jax_steps(name: str, definition, batch) -> Callable[[], float]:
    import jax

    model = REGISTRY.module(name, "jax_model").build(definition)
    params, _ = jax.block_until_ready(model.init(jax.random.key(0)))
    largest = max(jax.tree.leaves(params), key=lambda leaf: leaf.size)
    addresses = [largest.unsafe_buffer_pointer()]
    del largest

    def mean_loss(params, batch):
        logits, _ = model.forward(params, batch, None, rng=jax.random.key(0), **_MODE)
        sums = model.loss(batch["targets"], logits, batch["weights"], 0.0)
        return sums["summed"] / sums["n_valid_examples"]

    def step(params, batch):
        loss, gradient = jax.value_and_grad(mean_loss)(params, batch)
        return jax.tree.map(lambda p, g: p - _RATE * g, params, gradient), loss

    compiled = jax.jit(step, donate_argnums=0).lower(params, batch).compile()
    memory = compiled.memory_analysis()
    print(
        f"compiled step: {memory.alias_size_in_bytes / _GIB:.2f} GiB updated in place, "
        f"{memory.temp_size_in_bytes / _GIB:.2f} GiB of temporaries (gradient included)"
    )

    def take_step() -> float:
        nonlocal params
        params, loss = compiled(params, batch)
        value = float(loss)
        addresses.append(max(jax.tree.leaves(params), key=lambda leaf: leaf.size).unsafe_buffer_pointer())
        print(f"  largest parameter {'stayed in its place' if len(set(addresses)) == 1 else 'MOVED'}")
        return value

    return take_step


def _torch_steps(name: str, definition, batch) -> Callable[[], float]:
    import torch

    def to_torch(tree):
        if isinstance(tree, dict):
            return {key: to_torch(leaf) for key, leaf in tree.items()}
        return torch.from_numpy(np.array(tree))

    torch.manual_seed(0)
    model = REGISTRY.module(name, "torch_model").build(definition)
    module, _ = model.init(None)
    tensors = to_torch(batch)
    optimizer = torch.optim.SGD(module.parameters(), lr=_RATE)
    largest = max(module.parameters(), key=torch.Tensor.numel)
    address = largest.data_ptr()

    def take_step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits, _ = model.forward(module, tensors, None, rng=None, **_MODE)
        sums = model.loss(tensors["targets"], logits, tensors["weights"], 0.0)
        loss = sums["summed"] / sums["n_valid_examples"]
        loss.backward()
        optimizer.step()
        print(f"  largest parameter {'stayed in its place' if largest.data_ptr() == address else 'MOVED'}")
        return loss.item()

    return take_step


if __name__ == "__main__":
    main()
