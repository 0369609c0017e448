"""Causal attention of the language models: the frameworks' own functions against the plain formula.

  python benchmarks/attention.py [--shape=4,1024,8,128] [--frameworks=jax,torch] [--precisions=float32,tf32]

Prints milliseconds of a forward and backward pass (the median, each form in turn), the largest difference of outputs
and of gradients from the plain formula in float32, relative to the largest value, and the memory that the pass takes at
its peak (GPUs). Shape: sequences, positions, heads, depth.
"""

import argparse
import statistics
import time

import numpy as np

from algoperf.edition import MatmulPrecision

_SCALE = 19.99859  # of scores between vectors of length 1, as at the start of the full model


def jax_forms(inputs, precision):
    """Returns a function for each form: () -> (outputs, gradients), computed."""
    import jax
    import jax.numpy as jnp

    from algoperf.backends.jax import set_matmul_precision

    set_matmul_precision(precision)
    arrays = tuple(map(jnp.asarray, inputs))

    def plain(queries, keys, values):
        length = queries.shape[1]
        scores = jnp.einsum("bthd,bshd->bhts", queries * _SCALE, keys)
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, jnp.finfo(jnp.float32).min)
        return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), values)

    def heads_first(queries, keys, values):
        length = queries.shape[1]
        scores = jnp.einsum("bhtd,bhds->bhts", jnp.swapaxes(queries, 1, 2) * _SCALE, jnp.transpose(keys, (0, 2, 3, 1)))
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, jnp.finfo(jnp.float32).min)
        return jnp.swapaxes(jnp.einsum("bhts,bhsd->bhtd", jax.nn.softmax(scores), jnp.swapaxes(values, 1, 2)), 1, 2)

    def fused(implementation):
        def attention(queries, keys, values):
            return jax.nn.dot_product_attention(
                queries * _SCALE, keys, values, scale=1.0, is_causal=True, implementation=implementation
            )

        return attention

    forms = {"plain": plain, "heads first": heads_first, "dot_product_attention": fused(None)}
    if jax.default_backend() == "gpu":
        forms["cudnn"] = fused("cudnn")

    def runner(function):
        def pass_(arrays):
            outputs, pull = jax.vjp(function, *arrays)
            return outputs, pull(outputs)

        compiled = jax.jit(pass_)

        def run():
            outputs, gradients = jax.block_until_ready(compiled(arrays))
            return np.asarray(outputs), [np.asarray(gradient) for gradient in gradients]

        run.timed = lambda: jax.block_until_ready(compiled(arrays))
        return run

    return {name: runner(function) for name, function in forms.items()}, lambda: None


def torch_forms(inputs, precision):
    """As `jax_forms`."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from algoperf.backends.torch import set_matmul_precision

    set_matmul_precision(precision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensors = [torch.tensor(array, device=device).transpose(1, 2).contiguous().requires_grad_() for array in inputs]

    def plain(queries, keys, values):
        length = queries.shape[2]
        scores = (queries * _SCALE) @ keys.transpose(2, 3)
        later = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
        return scores.masked_fill(later, torch.finfo(torch.float32).min).softmax(-1) @ values

    def fused(backend=None):
        def attention(queries, keys, values):
            if backend is None:
                return F.scaled_dot_product_attention(queries * _SCALE, keys, values, is_causal=True, scale=1.0)
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(queries * _SCALE, keys, values, is_causal=True, scale=1.0)

        return attention

    forms = {"plain": plain, "scaled_dot_product_attention": fused()}
    if device.type == "cuda":
        forms["efficient"] = fused(SDPBackend.EFFICIENT_ATTENTION)

    def finish():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def runner(function):
        def timed():
            outputs = function(*tensors)
            gradients = torch.autograd.grad(outputs, tensors, outputs.detach())
            finish()
            return outputs, gradients

        def run():
            outputs, gradients = timed()
            return outputs.detach().cpu().transpose(1, 2).numpy(), [
                gradient.cpu().transpose(1, 2).numpy() for gradient in gradients
            ]

        run.timed = timed
        return run

    def peak_bytes():
        if device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak

    return {name: runner(function) for name, function in forms.items()}, peak_bytes


def difference(actual, expected) -> float:
    return max(float(np.abs(a - e).max() / np.abs(e).max()) for a, e in zip(actual, expected, strict=True))


def measure(framework: str, precision: MatmulPrecision, inputs, passes: int, expected):
    """Prints a line for each form; returns outputs and gradients of the plain formula."""
    forms, peak_bytes = {"jax": jax_forms, "torch": torch_forms}[framework](inputs, precision)
    results, seconds, peaks = {}, {name: [] for name in forms}, {}
    for name, run in list(forms.items()):
        peak_bytes()
        try:
            results[name] = run()
        except (RuntimeError, ValueError, NotImplementedError) as error:
            print(f"{framework} {precision} {name}: not possible ({str(error).splitlines()[0][:80]})")
            del forms[name]
            continue
        peaks[name] = peak_bytes()
    for _ in range(passes):
        for name, run in forms.items():
            started = time.perf_counter()
            run.timed()
            seconds[name].append(time.perf_counter() - started)
    expected = expected or results["plain"]
    for name in forms:
        outputs, gradients = results[name]
        errors = difference([outputs], [expected[0]]), difference(gradients, expected[1])
        peak = f", {peaks[name] / 1e9:.2f} GB" if peaks[name] else ""
        print(
            f"{framework} {precision} {name}: {1e3 * statistics.median(seconds[name]):.2f} ms, "
            f"outputs {errors[0]:.1e}, gradients {errors[1]:.1e}{peak}"
        )
    return expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="4,1024,8,128")
    parser.add_argument("--frameworks", default="jax,torch")
    parser.add_argument("--precisions", default="float32", help="float32, tf32")
    parser.add_argument("--passes", type=int, default=11)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = tuple(map(int, options.shape.split(",")))
    queries, keys, values = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    for vectors in (queries, keys):
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    for framework in options.frameworks.split(","):
        expected = None
        for precision in map(MatmulPrecision, options.precisions.split(",")):
            expected = measure(framework, precision, (queries, keys, values), options.passes, expected)


if __name__ == "__main__":
    main()
