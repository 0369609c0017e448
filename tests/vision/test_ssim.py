"""Structural similarity on the device against known values and against scikit-image."""

import numpy as np
import pytest


def jax_ssim(x: np.ndarray, y: np.ndarray, data_range: np.ndarray) -> np.ndarray:
    import jax.numpy as jnp

    from workloads.fastmri.jax_model import structural_similarity

    return np.asarray(structural_similarity(*(jnp.asarray(array, jnp.float32) for array in (x, y, data_range))))


def torch_ssim(x: np.ndarray, y: np.ndarray, data_range: np.ndarray) -> np.ndarray:
    import torch

    from workloads.fastmri.torch_model import structural_similarity

    return structural_similarity(*(torch.as_tensor(array, dtype=torch.float32) for array in (x, y, data_range))).numpy()


both = pytest.mark.parametrize(
    "ssim", [pytest.param(jax_ssim, marks=pytest.mark.jax), pytest.param(torch_ssim, marks=pytest.mark.torch)]
)


@both
def test_known_values(ssim) -> None:
    i, j = np.mgrid[:32, :40]
    a = np.sin(0.3 * i) + np.cos(0.2 * j)
    b = 0.9 * a + 0.1 * np.sin(0.05 * i * j)
    x, y = np.stack([a, a, 2 * a + 0.5]), np.stack([b, b, 2 * b + 0.5])
    np.testing.assert_allclose(ssim(x, y, np.array([1.0, 4.0, 4.0])), [0.962517, 0.970048, 0.954686], atol=2e-6)


@both
@pytest.mark.parametrize("shape", [(48, 48), (31, 16), (7, 7), (42, 53)])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 300.0])
def test_equals_scikit_image(ssim, shape: tuple[int, int], scale: float) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    rng = np.random.default_rng(0)
    # Bright images with little noise are the hard case for float32.
    x = scale * (rng.random((4, *shape)) + np.array([0, 0, 3, 20])[:, None, None])
    y = x + scale * np.array([0.01, 0.5, 0.05, 0.2])[:, None, None] * rng.normal(size=x.shape)
    data_range = y.max((1, 2))
    expected = [
        metrics.structural_similarity(p, q, win_size=7, data_range=r) for p, q, r in zip(x, y, data_range, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y, data_range), expected, atol=1e-5)


@both
def test_equal_images_score_one_and_opposite_contrasts_below_zero(ssim) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 20, 20))
    np.testing.assert_allclose(ssim(x, x, np.ones(2)), 1, atol=1e-6)
    assert (ssim(10 + x, 10 - x, np.ones(2)) < 0).all()


@pytest.mark.parametrize(
    "framework", [pytest.param("jax", marks=pytest.mark.jax), pytest.param("torch", marks=pytest.mark.torch)]
)
def test_a_volume_without_maximum_counts_as_range_one_and_intensities_are_restored(framework: str) -> None:
    from algoperf.registry import REGISTRY

    definition = REGISTRY.get("fastmri").shrunk()
    model = REGISTRY.module("fastmri", f"{framework}_model").build(definition)
    batch = REGISTRY.module("fastmri", "data").fake_batch(definition, 3, seed=0)
    batch["volume_max"] = np.array([0, 1, 2], np.float32)
    if framework == "jax":
        import jax

        params, state = jax.jit(model.init)(jax.random.key(0))
        forward = jax.jit(model.forward, static_argnames=("train", "update_batch_norm"))
        logits, _ = forward(params, batch, state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0)
        logits = np.asarray(logits)
        outputs = {name: np.asarray(value) for name, value in model.evaluate(params, batch, state).items()}
        ssim = jax_ssim
    else:
        import torch

        params, state = model.init(None)
        tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
        logits = model.forward(
            params, tensors, state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )[0].numpy()
        outputs = {name: value.numpy() for name, value in model.evaluate(params, tensors, state).items()}
        ssim = torch_ssim
    mean, std = batch["mean"][:, None, None], batch["std"][:, None, None]
    expected = ssim(logits * std + mean, batch["targets"] * std + mean, np.array([1, 1, 2]))
    np.testing.assert_allclose(outputs["ssim"], expected, atol=1e-6)
    np.testing.assert_allclose(outputs["loss"], np.abs(logits - batch["targets"]).mean((1, 2)), rtol=1e-5)
