"""Prints what JAX's batch norm costs against one with a plain one-pass variance, on the shapes of ResNet-50.

    python benchmarks/batch_norm.py [--batch_size=8]

Forward and backward of one layer, alternating in one process; the fastest of each.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from workloads.common.jax import batch_norm

SHAPES = ((112, 112, 64), (56, 56, 64), (56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048))


def one_pass(inputs: jax.Array, mask: None) -> tuple[jax.Array, jax.Array]:
    mean = inputs.mean((0, 1, 2))
    return mean, jnp.maximum(jnp.square(inputs).mean((0, 1, 2)) - jnp.square(mean), 0)


def layer_with(moments: Callable[..., tuple[jax.Array, jax.Array]]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns the compiled gradient of a normalisation with these moments."""

    def loss(inputs: jax.Array, weights: jax.Array) -> jax.Array:
        mean, var = moments(inputs, None)
        return jnp.sum((inputs - mean) * jax.lax.rsqrt(var + 1e-5) * weights)

    return jax.jit(jax.grad(loss))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    layers = {"one pass": layer_with(one_pass), "shifted": layer_with(batch_norm._moments)}
    total = dict.fromkeys(layers, 0.0)
    for shape in SHAPES:
        inputs = jax.random.normal(jax.random.key(0), (options.batch_size, *shape))
        weights = jax.random.normal(jax.random.key(1), inputs.shape)
        fastest_s = dict.fromkeys(layers, float("inf"))
        for repeat in range(options.repeats + 1):
            for name, layer in layers.items():
                start = time.perf_counter()
                jax.block_until_ready(layer(inputs, weights))
                if repeat:  # the first call compiles
                    fastest_s[name] = min(fastest_s[name], time.perf_counter() - start)
        for name, seconds in fastest_s.items():
            total[name] += seconds
        times = ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in fastest_s.items())
        print(f"{shape}: {times}, ratio {fastest_s['shifted'] / fastest_s['one pass']:.2f}")
    print(f"all shapes: ratio {total['shifted'] / total['one pass']:.2f}")


if __name__ == "__main__":
    main()
