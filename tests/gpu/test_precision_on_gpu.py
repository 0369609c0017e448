"""Matrix products and convolutions on a GPU are rounded as `--matmul_precision` says, alike in both frameworks."""

import numpy as np
import pytest

from algoperf.backends.base import load
from algoperf.edition import MatmulPrecision

# Of float32 factors with ten bits of mantissa the products are off by about 3e-4; of all bits, by less than 1e-6.
_BETWEEN = 3e-5
RNG = np.random.default_rng(0)
MATRICES = RNG.standard_normal((2, 512, 512)).astype(np.float32)
IMAGES = RNG.standard_normal((8, 64, 32, 32)).astype(np.float32)
KERNELS = RNG.standard_normal((64, 64, 1, 1)).astype(np.float32)


def in_jax() -> tuple[np.ndarray, np.ndarray]:
    jax = pytest.importorskip("jax")
    return np.asarray(jax.numpy.matmul(*MATRICES)), np.asarray(jax.lax.conv(IMAGES, KERNELS, (1, 1), "SAME"))


def in_pytorch() -> tuple[np.ndarray, np.ndarray]:
    torch = pytest.importorskip("torch")
    first, second, images, kernels = (torch.tensor(array, device="cuda") for array in (*MATRICES, IMAGES, KERNELS))
    return (first @ second).cpu().numpy(), torch.nn.functional.conv2d(images, kernels).cpu().numpy()


def errors(computed: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Relative errors of the product and of the convolution, which is a product over the channels."""
    first, second = MATRICES.astype(np.float64)
    expected = (first @ second, np.einsum("bihw,oi->bohw", IMAGES.astype(np.float64), KERNELS[:, :, 0, 0]))
    return [
        float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
        for got, exact in zip(computed, expected, strict=True)
    ]


@pytest.fixture(params=[pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)])
def framework(request):
    pytest.importorskip({"jax": "jax", "pytorch": "torch"}[request.param])
    yield request.param
    load(request.param, matmul_precision=MatmulPrecision.FLOAT32)


@pytest.mark.parametrize("setting", list(MatmulPrecision))
def test_products_and_convolutions_are_rounded_as_asked_for(framework, setting):
    backend = load(framework, matmul_precision=setting)
    effective = backend.device_report()["matmul_precision"]
    product, convolution = errors({"jax": in_jax, "pytorch": in_pytorch}[framework]())
    assert (product < _BETWEEN) == (effective == MatmulPrecision.FLOAT32)
    if effective == MatmulPrecision.FLOAT32:  # in TF32 the library chooses, and may take an exact algorithm
        assert convolution < _BETWEEN
