"""One training step and one evaluation of the full-size vision models at their real input sizes.

  python benchmarks/vision_full_step.py [--batch_size=4] [--workloads=imagenet_resnet,imagenet_vit,fastmri]

Each model runs in its own process; prints parameters, seconds (with and without compilation) and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from algoperf.definition import Split
from algoperf.registry import REGISTRY

_WORKLOADS = ("imagenet_resnet", "imagenet_vit", "fastmri")


def jax_steps(model, batch):
    """Returns (parameters, train step, evaluation); the step updates by gradient descent."""
    import jax

    params, state = model.init(jax.random.key(0))
    holder = {"params": params, "state": state}

    @jax.jit
    def update(params, state, batch):
        def loss_fn(params):
            logits, new_state = model.forward(
                params, batch, state, train=True, rng=jax.random.key(1), update_batch_norm=True, dropout_rate=0.0
            )
            loss = model.loss(batch["targets"], logits, None, 0.0)
            return loss["summed"] / loss["n_valid_examples"], new_state

        (loss, new_state), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradients), new_state, loss

    def train() -> float:
        holder["params"], holder["state"], loss = update(holder["params"], holder["state"], batch)
        return float(loss)

    def evaluate():
        return {k: np.asarray(v) for k, v in model.evaluate(holder["params"], batch, holder["state"]).items()}

    return sum(leaf.size for leaf in jax.tree.leaves(params)), train, evaluate


def torch_steps(model, batch):
    """As `jax_steps`."""
    import torch

    module, state = model.init(None)
    tensors = {name: torch.from_numpy(leaf) for name, leaf in batch.items()}

    def train() -> float:
        logits, _ = model.forward(
            module, tensors, state, train=True, rng=None, update_batch_norm=True, dropout_rate=0.0
        )
        loss = model.loss(tensors["targets"], logits, None, 0.0)
        mean = loss["summed"] / loss["n_valid_examples"]
        module.zero_grad()
        mean.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter -= 1e-3 * parameter.grad
        return mean.item()

    def evaluate():
        return {name: value.numpy() for name, value in model.evaluate(module, tensors, state).items()}

    return sum(p.numel() for p in module.parameters()), train, evaluate


def measure(name: str, framework: str, batch_size: int) -> dict:
    definition = REGISTRY.get(name)
    batch = REGISTRY.module(name, "data").fake_batch(definition, batch_size, seed=0)
    model = REGISTRY.module(name, f"{framework}_model").build(definition)
    parameters, train, evaluate = {"jax": jax_steps, "torch": torch_steps}[framework](model, batch)
    seconds, losses = [], []
    for _ in range(3):
        started = time.perf_counter()
        losses.append(train())
        seconds.append(time.perf_counter() - started)
    evaluate()
    started = time.perf_counter()
    outputs = evaluate()
    eval_s = time.perf_counter() - started
    metrics = REGISTRY.module(name, "metrics").make_metrics(definition, Split.VALIDATION, None)
    metrics.update(outputs, batch)
    return {
        "workload": name,
        "framework": framework,
        "parameters": parameters,
        "inputs": list(batch["inputs"].shape),
        "first_step_s": round(seconds[0], 2),
        "step_s": round(min(seconds[1:]), 2),
        "eval_s": round(eval_s, 2),
        "losses": [round(loss, 4) for loss in losses],
        "metrics": {key: round(value, 4) for key, value in metrics.compute().items()},
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--workloads", default=",".join(_WORKLOADS))
    parser.add_argument("--frameworks", default="jax,torch")
    parser.add_argument("--in_this_process", action="store_true", help="measure the one named workload and framework")
    options = parser.parse_args()
    names, frameworks = options.workloads.split(","), options.frameworks.split(",")
    if options.in_this_process:
        print(json.dumps(measure(names[0], frameworks[0], options.batch_size)))
        return
    for name in names:
        for framework in frameworks:
            command = [sys.executable, __file__, "--in_this_process", f"--batch_size={options.batch_size}"]
            subprocess.run([*command, f"--workloads={name}", f"--frameworks={framework}"], check=True)


if __name__ == "__main__":
    main()
