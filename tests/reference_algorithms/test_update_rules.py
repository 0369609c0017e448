"""Update rules that are written here, against their equations in NumPy (float64)."""

import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.definition import ParameterType
from algoperf.spec import ShapeTuple
from reference_algorithms.shampoo.settings import Blocks, ShampooSettings, cut

ROOT = Path(__file__).parents[2] / "reference_algorithms"
RNG = np.random.default_rng(0)


def with_torch(make, start: np.ndarray, grads: np.ndarray) -> np.ndarray:
    """Parameters [in, out] after updates with `grads`, by the optimizer that `make(groups)` builds; rate 0.1."""
    import torch

    param = torch.nn.Parameter(torch.tensor(start.T, dtype=torch.float32).contiguous())
    optimizer = make([{"params": [param], "layout": "kernel", "lr": 0.1}])
    for grad in grads:
        param.grad = torch.tensor(grad.T, dtype=torch.float32)
        optimizer.step()
    return param.detach().numpy().T


def with_optax(optimizer, start: np.ndarray, grads: np.ndarray) -> np.ndarray:
    import jax.numpy as jnp
    import optax

    params = jnp.asarray(start, jnp.float32)
    state = optimizer.init(params)
    for grad in grads:
        updates, state = optimizer.update(jnp.asarray(grad, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


@pytest.mark.jax
@pytest.mark.torch
def test_nadamw_is_its_equation():
    from reference_algorithms.common.jax_nadam import nadamw
    from reference_algorithms.common.torch_nadam import NadamW

    b1, b2, decay, start, grads = 0.9, 0.99, 0.3, RNG.normal(size=(4, 3)), RNG.normal(size=(6, 4, 3))
    theta, m, v = start, 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        lookahead = (b1 * m + (1 - b1) * g) / (1 - b1**t)
        theta = theta - 0.1 * (lookahead / (np.sqrt(v / (1 - b2**t)) + 1e-8) + decay * theta)
    in_jax = with_optax(nadamw(0.1, b1=b1, b2=b2, weight_decay=decay), start, grads)
    in_torch = with_torch(lambda groups: NadamW(groups, betas=(b1, b2), weight_decay=decay), start, grads)
    np.testing.assert_allclose(in_jax, theta, atol=1e-6)
    np.testing.assert_allclose(in_torch, theta, atol=1e-6)


def shampoo_in_numpy(start, grads, b1, b2, decay, given: ShampooSettings) -> np.ndarray:
    theta, momentum, accumulator = start, np.zeros_like(start), np.zeros_like(start)
    blocks = [(r, c) for r in (slice(0, 3), slice(3, 5)) for c in (slice(0, 3), slice(3, 4))]
    left = dict.fromkeys(range(len(blocks)), 0.0)
    right, roots = dict(left), {}
    for count, g in enumerate(grads):
        unit = g / np.linalg.norm(g)
        accumulator = b2 * accumulator + (1 - b2) * unit**2
        step = unit / (np.sqrt(accumulator) + given.graft_epsilon)
        shaped = np.zeros_like(g)
        for at, place in enumerate(blocks):
            block = g[place]
            left[at] = b2 * left[at] + (1 - b2) * block @ block.T
            right[at] = b2 * right[at] + (1 - b2) * block.T @ block
            if count % given.root_every_steps == 0:
                roots[at] = (root_in_numpy(left[at], 4, given), root_in_numpy(right[at], 4, given))
            shaped[place] = roots[at][0] @ block @ roots[at][1]
        if count >= given.start_step:
            step = shaped * np.linalg.norm(step) / np.linalg.norm(shaped)
        update = step + decay * theta
        momentum = b1 * momentum + (1 - b1) * update
        theta = theta - 0.1 * (b1 * momentum + (1 - b1) * update)
    return theta


def root_in_numpy(matrix: np.ndarray, power: int, given: ShampooSettings) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * (values + given.matrix_epsilon * values.max()) ** (-1 / power)) @ vectors.T


@pytest.mark.jax
@pytest.mark.torch
def test_shampoo_is_its_equations():
    from reference_algorithms.shampoo.jax_shampoo import shampoo
    from reference_algorithms.shampoo.torch_shampoo import Shampoo

    b1, b2, decay, start, grads = 0.8, 0.9, 0.3, RNG.normal(size=(5, 4)), RNG.normal(size=(9, 5, 4))
    given = ShampooSettings(block_size=3, merge_size=4, root_every_steps=2, start_step=3, matrix_epsilon=1e-3)
    expected = shampoo_in_numpy(start, grads, b1, b2, decay, given)
    rate = lambda count: 0.1  # noqa: E731
    in_jax = with_optax(shampoo(rate, b1=b1, b2=b2, weight_decay=decay, settings=given), start, grads)
    in_torch = with_torch(
        lambda groups: Shampoo(groups, beta1=b1, beta2=b2, weight_decay=decay, settings=given), start, grads
    )
    np.testing.assert_allclose(in_jax, expected, atol=3e-5)
    np.testing.assert_allclose(in_torch, expected, atol=3e-5)


@pytest.mark.jax
@pytest.mark.torch
@pytest.mark.parametrize("power", [2, 4, 6])
def test_inverse_roots_of_matrices_of_any_scale_and_rank(power: int):
    import torch

    from reference_algorithms.shampoo import jax_shampoo, torch_shampoo

    given = ShampooSettings(matrix_epsilon=1e-4)
    factors = [RNG.normal(size=(6, 6)) * scale for scale in (1e-4, 1.0, 1e3)] + [RNG.normal(size=(6, 2)) @ np.eye(2, 6)]
    matrices = np.stack([f @ f.T for f in factors])
    expected = np.stack([root_in_numpy(m, power, given) for m in matrices])
    previous = np.zeros_like(matrices)
    in_jax = jax_shampoo.inverse_root(matrices.astype(np.float32), previous.astype(np.float32), power, 1e-4)
    in_torch = torch_shampoo.inverse_root(
        torch.tensor(matrices, dtype=torch.float32), torch.tensor(previous, dtype=torch.float32), power, 1e-4
    )
    for found in (np.asarray(in_jax), in_torch.numpy()):
        error = np.abs(found - expected).max((1, 2)) / np.abs(expected).max((1, 2))
        assert error.max() < 2e-3


@pytest.mark.jax
@pytest.mark.torch
def test_a_parameter_without_gradient_does_not_break_shampoo():
    from reference_algorithms.shampoo.jax_shampoo import shampoo
    from reference_algorithms.shampoo.torch_shampoo import Shampoo

    start, grads, given = RNG.normal(size=(3, 2)), np.zeros((5, 3, 2)), ShampooSettings(start_step=0, merge_size=1)
    in_jax = with_optax(shampoo(lambda count: 0.1, b1=0.9, b2=0.9, weight_decay=0.0, settings=given), start, grads)
    in_torch = with_torch(
        lambda groups: Shampoo(groups, beta1=0.9, beta2=0.9, weight_decay=0.0, settings=given), start, grads
    )
    np.testing.assert_allclose(in_jax, start, rtol=1e-6)
    np.testing.assert_allclose(in_torch, start, rtol=1e-6)


@given(
    st.lists(st.integers(1, 12), min_size=0, max_size=4).map(tuple),
    st.integers(1, 6),
    st.integers(1, 30),
)
@settings(max_examples=200)
def test_blocks_tile_the_tensor(shape: tuple[int, ...], block_size: int, merge_size: int):
    blocks: Blocks = cut(shape, ShampooSettings(block_size=block_size, merge_size=merge_size))
    assert math.prod(blocks.shape) == math.prod(shape)
    covered = np.zeros(blocks.shape, int)
    for slices, side in zip(blocks.slices, blocks.block_shapes, strict=True):
        covered[slices] += 1
        assert covered[slices].shape == side
        assert max(side) <= block_size
    assert (covered == 1).all() if math.prod(shape) > 1 else not blocks.slices


def test_huge_tables_are_only_grafted():
    assert cut((4_194_304, 128), ShampooSettings()).slices == ()
    assert cut((3, 3, 64, 128), ShampooSettings()).shape == (576, 128)
    assert cut((32_000, 1024), ShampooSettings()).slices == ()
    assert len(cut((4_096, 1024), ShampooSettings()).slices) == 4


@pytest.mark.torch
def test_muon_takes_fused_projections_apart():
    import torch

    from reference_algorithms.muon.torch_muon import Muon, orthogonalized

    start, grad = RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6))

    def make(num_fused: int):
        extra = {"is_matrix": True, "num_fused": num_fused}
        return lambda groups: Muon([g | extra for g in groups], momentum=0.9, betas=(0.9, 0.9), weight_decay=0.0)

    fused = with_torch(make(3), start, grad[None])
    apart = [with_torch(make(1), start[:, c], grad[None, :, c]) for c in (slice(0, 2), slice(2, 4), slice(4, 6))]
    np.testing.assert_allclose(fused, np.concatenate(apart, 1), atol=1e-6)
    singular = torch.linalg.svdvals(orthogonalized(torch.tensor(RNG.normal(size=(3, 8, 5))), 1e-8))
    assert singular.min() > 0.6
    assert singular.max() < 1.3


@pytest.mark.jax
@pytest.mark.parametrize("algorithm", sorted(path.parent.name for path in ROOT.glob("*/jax_submission.py")))
def test_a_gradient_of_zero_keeps_parameters_finite_in_jax(algorithm: str):
    import jax.numpy as jnp
    import optax

    point = SimpleNamespace(**json.loads((ROOT / algorithm / "self_tuning.json").read_text()))
    module = importlib.import_module(f"reference_algorithms.{algorithm}.jax_submission")
    params = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    workload = SimpleNamespace(
        step_hint=100,
        param_shapes={name: ShapeTuple(value.shape) for name, value in params.items()},
        model_params_types={"kernel": ParameterType.WEIGHT, "bias": ParameterType.BIAS},
        is_output_params=lambda name: False,
    )
    optimizer = optax.with_extra_args_support(module.make_optimizer(point, workload))
    state = optimizer.init(params)
    zero = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}
    for _ in range(3):
        updates, state = optimizer.update(zero, state, params, grad_fn=lambda at, i: zero)
        params = optax.apply_updates(params, updates)
    assert all(np.isfinite(value).all() for value in params.values())


@pytest.mark.torch
@pytest.mark.parametrize("algorithm", sorted(path.parent.name for path in ROOT.glob("*/torch_submission.py")))
def test_a_gradient_of_zero_keeps_parameters_finite_in_torch(algorithm: str):
    import torch

    point = SimpleNamespace(**json.loads((ROOT / algorithm / "self_tuning.json").read_text()))
    module = importlib.import_module(f"reference_algorithms.{algorithm}.torch_submission")
    model = torch.nn.Linear(4, 3)
    types = {"weight": ParameterType.WEIGHT, "bias": ParameterType.BIAS}
    workload = SimpleNamespace(step_hint=100, model_params_types=types, is_output_params=lambda name: False)
    optimizer = module.make_optimizer(model, point, workload)

    if hasattr(optimizer, "train"):
        optimizer.train()

    def closure(**_: object) -> None:
        for param in model.parameters():
            param.grad = torch.zeros_like(param)

    for _ in range(3):
        optimizer.step(closure)
    assert all(torch.isfinite(param).all() for param in model.parameters())


def test_the_documented_limit_of_shampoo_is_the_one_in_use():
    text = " ".join((ROOT.parent / "docs" / "differences.md").read_text().split())
    assert f"an axis of more than {ShampooSettings().max_dimension:,}" in text
