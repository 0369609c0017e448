"""Distributed Shampoo, which optax does not have."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from reference_algorithms.shampoo.settings import Blocks, ShampooSettings, cut, start_vector

_ROOT_ITERATIONS = 100
_POWER_ITERATIONS = 50
_TINY = 1e-25
_PRECISE = jax.lax.Precision.HIGHEST

# Statistics of one tensor: for each block, for each axis, a matrix [side, side].
Matrices = tuple[tuple[jax.Array, ...], ...]


class State(NamedTuple):
    """Leaves of `statistics` and `roots` are lists over the parameters, in tree order, of `Matrices`."""

    num_updates: jax.Array
    statistics: list[Matrices]
    roots: list[Matrices]
    graft: Any
    momentum: Any


def shampoo(
    learning_rate: optax.Schedule, *, b1: float, b2: float, weight_decay: float, settings: ShampooSettings
) -> optax.GradientTransformation:
    """Shampoo on blocks, with the length of the step from normalised RMSProp.

    For a block G with k axes, L_i <- b2 L_i + (1 - b2) G_(i) G_(i)^T, where G_(i) unfolds axis i; P = G times
    (L_i + eps max_eigenvalue(L_i) I)^(-1/2k) on every axis i; the roots are renewed every `root_every_steps`.
    Graft: h = g / |g|, a <- b2 a + (1 - b2) h^2, d = h / (sqrt(a) + eps). u = P |d| / |P| (d before `start_step`)
    + lambda theta; m <- b1 m + (1 - b1) u; theta <- theta - lr (b1 m + (1 - b1) u).

    Source: Anil et al. 2020, Scalable Second Order Optimization for Deep Learning, algorithm 1 and section 5 (blocks,
    grafting, delayed roots by coupled Newton); Gupta et al. 2018, Shampoo, algorithm 2.
    """

    def init(params: Any) -> State:
        blocks = [cut(p.shape, settings) for p in jax.tree.leaves(params)]
        return State(
            num_updates=jnp.zeros([], jnp.int32),
            statistics=[_matrices(b, jnp.zeros) for b in blocks],
            roots=[_matrices(b, lambda shape: jnp.eye(shape[0])) for b in blocks],
            graft=optax.tree.zeros_like(params),
            momentum=optax.tree.zeros_like(params),
        )

    def update(grads: Any, state: State, params: Any) -> tuple[Any, State]:
        leaves, structure = jax.tree.flatten(grads)
        blocks = [cut(g.shape, settings) for g in leaves]
        statistics = [_averaged(*each, b2) for each in zip(blocks, state.statistics, leaves, strict=True)]
        roots = jax.lax.cond(
            state.num_updates % settings.root_every_steps == 0,
            lambda: _inverse_roots(statistics, state.roots, settings.matrix_epsilon),
            lambda: state.roots,
        )
        units = jax.tree.map(lambda g: g / (jnp.linalg.norm(g.ravel()) + _TINY), grads)
        graft = optax.tree.update_moment(units, state.graft, b2, 2)
        steps = jax.tree.map(lambda h, a: h / (jnp.sqrt(a) + settings.graft_epsilon), units, graft)
        shaped = [_preconditioned(*each) for each in zip(blocks, roots, leaves, strict=True)]
        updates = jax.tree.map(
            lambda d, p, theta: (
                jnp.where(state.num_updates >= settings.start_step, _rescaled(p, d), d) + weight_decay * theta
            ),
            steps,
            jax.tree.unflatten(structure, shaped),
            params,
        )
        momentum = optax.tree.update_moment(updates, state.momentum, b1, 1)
        rate = learning_rate(state.num_updates)
        descent = jax.tree.map(lambda m, u: -rate * (b1 * m + (1.0 - b1) * u), momentum, updates)
        return descent, State(state.num_updates + 1, statistics, roots, graft, momentum)

    return optax.GradientTransformation(init, update)


def _matrices(blocks: Blocks, make: Any) -> Matrices:
    return tuple(tuple(make((side, side)) for side in shape) for shape in blocks.block_shapes)


def _averaged(blocks: Blocks, statistics: Matrices, grad: jax.Array, decay: float) -> Matrices:
    """Moving averages of G_(i) G_(i)^T."""
    grad = grad.reshape(blocks.shape)
    averaged = []
    for slices, matrices in zip(blocks.slices, statistics, strict=True):
        block = grad[slices]
        grams = [_gram(block, axis) for axis in range(block.ndim)]
        averaged.append(tuple(decay * m + (1.0 - decay) * g for m, g in zip(matrices, grams, strict=True)))
    return tuple(averaged)


def _gram(block: jax.Array, axis: int) -> jax.Array:
    others = [i for i in range(block.ndim) if i != axis]
    return jnp.tensordot(block, block, axes=(others, others))


def _preconditioned(blocks: Blocks, roots: Matrices, grad: jax.Array) -> jax.Array:
    if not blocks.slices:
        return grad
    result = grad.reshape(blocks.shape)
    for slices, matrices in zip(blocks.slices, roots, strict=True):
        block = result[slices]
        for matrix in matrices:
            # Contracts the first axis and puts the result last: after all axes, their order is as before.
            block = jnp.tensordot(block, matrix, axes=(0, 0))
        result = result.at[slices].set(block)
    return result.reshape(grad.shape)


def _rescaled(direction: jax.Array, step: jax.Array) -> jax.Array:
    """`direction` with the norm of `step`."""
    ratio: jax.Array = jnp.linalg.norm(step.ravel()) / (jnp.linalg.norm(direction.ravel()) + _TINY)
    return direction * ratio


def _inverse_roots(statistics: list[Matrices], roots: list[Matrices], epsilon: float) -> list[Matrices]:
    """New roots; matrices of one side and one power are done together."""
    power_tree = [tuple(tuple(2 * len(ms) for _ in ms) for ms in matrices) for matrices in statistics]
    flat, structure = jax.tree.flatten(statistics)
    old, powers = jax.tree.leaves(roots), jax.tree.leaves(power_tree)
    new = list(flat)
    for side, power in sorted({(len(m), p) for m, p in zip(flat, powers, strict=True)}):
        chosen = [i for i, (m, p) in enumerate(zip(flat, powers, strict=True)) if (len(m), p) == (side, power)]
        stacked = inverse_root(
            jnp.stack([flat[i] for i in chosen]), jnp.stack([old[i] for i in chosen]), power, epsilon
        )
        for i, root in zip(chosen, stacked, strict=True):
            new[i] = root
    refreshed: list[tuple[tuple[jax.Array, ...], ...]] = jax.tree.unflatten(structure, new)
    return refreshed


def inverse_root(matrices: jax.Array, previous: jax.Array, power: int, epsilon: float) -> jax.Array:
    """(A + epsilon max_eigenvalue(A) I)^(-1/power) of positive matrices [n, side, side]; `previous` where it fails.

    Coupled Newton iteration: Higham 2008, Functions of Matrices, equation 7.18. (`optax.matrix_inverse_pth_root`
    knows only powers of two, and one matrix.)
    """
    side = matrices.shape[-1]
    identity = jnp.eye(side)
    largest = jnp.maximum(_largest_eigenvalue(matrices), 1e-30)[:, None, None]
    ridged = matrices + epsilon * largest * identity
    scale = (1.0 + power) / (2.0 * largest)

    def residual(product: jax.Array) -> jax.Array:
        return jnp.abs(product - identity).max((1, 2))

    def unfinished(state: Any) -> jax.Array:
        iteration: jax.Array
        active: jax.Array
        iteration, _, _, _, active = state
        return (iteration < _ROOT_ITERATIONS) & active.any()

    def iterate(state: Any) -> Any:
        iteration, product, root, error, active = state
        factor = identity + (identity - product) / power
        new_product = jnp.matmul(_power(factor, power), product, precision=_PRECISE)
        new_root, new_error = jnp.matmul(root, factor, precision=_PRECISE), residual(new_product)
        # Rounding ends the progress of ill-conditioned matrices: they keep what they had.
        better = active & (new_error < 1.2 * error)
        product, root = _select(better, new_product, product), _select(better, new_root, root)
        error = jnp.where(better, new_error, error)
        return iteration + 1, product, root, error, better & (error > 1e-6)

    product = ridged * scale
    root = jnp.broadcast_to(identity, matrices.shape) * scale ** (1.0 / power)
    error = residual(product)
    state = (0, product, root, error, jnp.ones(len(matrices), bool))
    _, _, root, error, _ = jax.lax.while_loop(unfinished, iterate, state)
    return _select(error < 0.1, root, previous)


def _largest_eigenvalue(matrices: jax.Array) -> jax.Array:
    vectors = jnp.broadcast_to(start_vector(matrices.shape[-1]), matrices.shape[:2])

    def iterate(_: int, vectors: jax.Array) -> jax.Array:
        vectors = jnp.einsum("nij,nj->ni", matrices, vectors, precision=_PRECISE)
        norms: jax.Array = jnp.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / (norms + _TINY)

    vectors = jax.lax.fori_loop(0, _POWER_ITERATIONS, iterate, vectors)
    return jnp.einsum("ni,nij,nj->n", vectors, matrices, vectors, precision=_PRECISE)


def _power(matrices: jax.Array, exponent: int) -> jax.Array:
    if exponent == 1:
        return matrices
    half = _power(matrices, exponent // 2)
    square = jnp.matmul(half, half, precision=_PRECISE)
    return jnp.matmul(square, matrices, precision=_PRECISE) if exponent % 2 else square


def _select(condition: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.where(condition[:, None, None], first, second)
