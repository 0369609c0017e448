"""Training steps and an evaluation of full-size vision, speech and language models at their real input sizes.

  python benchmarks/full_size_steps.py [--workloads=fastmri,imagenet_vit] [--batch_size=2] [--frameworks=jax,torch]
      [--matmul_precision=float32]

Each model runs in its own process, on a GPU where there is one; prints parameters, seconds (with and without
compilation), losses, metrics of the evaluated batch and peak memory. Speech is 20 s of audio.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import time

import numpy as np

from algoperf.definition import Split
from algoperf.edition import MatmulPrecision
from algoperf.registry import REGISTRY

_WORKLOADS = (
    "imagenet_resnet",
    "imagenet_vit",
    "fastmri",
    "librispeech_conformer",
    "librispeech_deepspeech",
    "finewebedu_lm",
)
_LEARNING_RATE = 1e-3


def jax_steps(model, batch):
    """Returns (parameters, train step, evaluation); the step updates by gradient descent with normalised length."""
    import jax

    params, state = jax.jit(model.init)(jax.random.key(0))
    holder = {"params": params, "state": state}

    @jax.jit
    def update(params, state, batch, rng):
        def mean_loss(params):
            logits, new_state = model.forward(
                params, batch, state, train=True, rng=rng, update_batch_norm=True, dropout_rate=0.1
            )
            losses = model.loss(batch["targets"], logits, batch.get("weights"), 0.0)
            return losses["summed"] / losses["n_valid_examples"], new_state

        (loss, new_state), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params)
        norm = sum((gradient**2).sum() for gradient in jax.tree.leaves(gradients)) ** 0.5
        return jax.tree.map(lambda p, g: p - _LEARNING_RATE * g / norm, params, gradients), new_state, loss

    def train(number: int) -> float:
        rng = jax.random.key(number)
        holder["params"], holder["state"], loss = update(holder["params"], holder["state"], batch, rng)
        return float(loss)

    def evaluate():
        return {k: np.asarray(v) for k, v in model.evaluate(holder["params"], batch, holder["state"]).items()}

    return sum(leaf.size for leaf in jax.tree.leaves(params)), train, evaluate


def torch_steps(model, batch):
    """As `jax_steps`."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with device:
        module, state = model.init(None)

    def placed(array):
        return torch.from_numpy(array).to(device)

    tensors = {
        name: tuple(map(placed, leaf)) if isinstance(leaf, tuple) else placed(leaf) for name, leaf in batch.items()
    }

    def train(number: int) -> float:
        torch.manual_seed(number)
        logits, _ = model.forward(
            module, tensors, state, train=True, rng=None, update_batch_norm=True, dropout_rate=0.1
        )
        losses = model.loss(tensors["targets"], logits, tensors.get("weights"), 0.0)
        mean = losses["summed"] / losses["n_valid_examples"]
        module.zero_grad()
        mean.backward()
        with torch.no_grad():
            norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters()])
            for parameter in module.parameters():
                parameter -= _LEARNING_RATE * parameter.grad / norm
        return mean.item()

    def evaluate():
        module.eval()
        return {name: value.cpu().numpy() for name, value in model.evaluate(module, tensors, state).items()}

    return sum(p.numel() for p in module.parameters()), train, evaluate


def peak_gpu_bytes(framework: str) -> int:
    """The most memory that was in use on the GPU; 0 where there is none."""
    if framework == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def measure(name: str, framework: str, batch_size: int, steps: int, precision: str) -> dict:
    set_precision = importlib.import_module(f"algoperf.backends.{framework}").set_matmul_precision
    set_precision(MatmulPrecision(precision))
    definition = REGISTRY.get(name)
    batch = REGISTRY.module(name, "data").fake_batch(definition, batch_size, seed=0)
    inputs = batch["inputs"]
    if isinstance(inputs, tuple):  # audio and paddings: the first utterance is as long as they come
        inputs, paddings = inputs
        paddings[0] = 0
    model = REGISTRY.module(name, f"{framework}_model").build(definition)
    parameters, train, evaluate = {"jax": jax_steps, "torch": torch_steps}[framework](model, batch)
    seconds, losses = [], []
    for number in range(steps):
        started = time.perf_counter()
        losses.append(train(number))
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
        "inputs": list(inputs.shape),
        "first_step_s": round(seconds[0], 2),
        "step_s": round(min(seconds[1:]), 2),
        "eval_s": round(eval_s, 2),
        "losses": [round(loss, 4) for loss in losses],
        "metrics": {key: round(value, 4) for key, value in metrics.compute().items()},
        "matmul_precision": precision,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "peak_gpu_gb": round(peak_gpu_bytes(framework) / 1e9, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="at least 2, of which the first compiles")
    parser.add_argument("--workloads", default=",".join(_WORKLOADS))
    parser.add_argument("--frameworks", default="jax,torch")
    parser.add_argument("--matmul_precision", default="float32", help="float32, tf32 or bfloat16")
    parser.add_argument("--in_this_process", action="store_true", help="measure the one named workload and framework")
    options = parser.parse_args()
    names, frameworks = options.workloads.split(","), options.frameworks.split(",")
    if options.in_this_process:
        print(json.dumps(measure(names[0], frameworks[0], options.batch_size, options.steps, options.matmul_precision)))
        return
    for name in names:
        for framework in frameworks:
            command = [sys.executable, __file__, "--in_this_process", f"--batch_size={options.batch_size}"]
            command += [f"--steps={options.steps}", f"--workloads={name}", f"--frameworks={framework}"]
            command += [f"--matmul_precision={options.matmul_precision}"]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
