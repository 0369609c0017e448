"""One flag sets the precision of matrix products and convolutions alike in both frameworks; CPUs stay as they are."""

import itertools

import numpy as np
import pytest

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")

from algoperf.backends import jax as jax_backend  # noqa: E402
from algoperf.backends import torch as torch_backend  # noqa: E402
from algoperf.backends.precision import in_effect  # noqa: E402
from algoperf.edition import EDITIONS, MatmulPrecision  # noqa: E402

FLOAT32, TF32, BFLOAT16 = MatmulPrecision
PRECISIONS = list(MatmulPrecision)


@pytest.fixture(autouse=True)
def settings_of_the_process():
    in_jax = jax.config.values["jax_default_matmul_precision"]
    in_torch, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    jax.config.update("jax_default_matmul_precision", in_jax)
    torch.set_float32_matmul_precision(in_torch)
    torch.backends.cudnn.allow_tf32 = convolutions


def test_what_devices_make_of_a_setting():
    for setting in PRECISIONS:
        assert in_effect(setting, platform="cpu") is FLOAT32
        assert in_effect(setting, platform="tpu") is setting
        assert in_effect(setting, platform="cuda", compute_capability="7.0") is FLOAT32
    for capability in ("8.0", "9.0", "10.0", None):
        effective = [in_effect(setting, platform="cuda", compute_capability=capability) for setting in PRECISIONS]
        assert effective == [FLOAT32, TF32, TF32]


def test_editions_differ_in_their_default():
    assert {name: edition.matmul_precision for name, edition in EDITIONS.items()} == {"v0.6": FLOAT32, "v1.0": TF32}


def jax_precisions() -> set[str]:
    """Precisions of a matrix product and a convolution, as they are given to XLA."""
    matrix, signal = np.zeros((2, 2), np.float32), np.zeros((1, 1, 4), np.float32)
    both = jax.make_jaxpr(lambda a, x: (a @ a, jax.lax.conv(x, x, (1,), "SAME")))
    equations = both(matrix, signal).eqns
    found = {str(e.params["precision"]) for e in equations if "precision" in e.params}
    assert len([e for e in equations if e.primitive.name in ("dot_general", "conv_general_dilated")]) == 2
    return found


def test_every_change_of_the_setting_reaches_products_and_convolutions_of_both_frameworks():
    seen = {}
    for order in itertools.permutations(PRECISIONS):
        for setting in order:
            jax_backend.set_matmul_precision(setting)
            torch_backend.set_matmul_precision(setting)
            [in_jax] = jax_precisions()
            assert seen.setdefault(setting, in_jax) == in_jax
            assert torch_backend.matmul_precision_settings() == (FLOAT32 if setting is FLOAT32 else TF32,) * 2
    assert len(set(seen.values())) == len(PRECISIONS)


@pytest.mark.skipif(torch.cuda.is_available() or jax.default_backend() != "cpu", reason="about CPUs")
@pytest.mark.parametrize("setting", PRECISIONS)
def test_cpus_compute_in_float32_and_say_so(setting):
    before = (jax.config.values["jax_default_matmul_precision"], torch.get_float32_matmul_precision())
    for create in (jax_backend.create, torch_backend.create):
        assert create(matmul_precision=setting).device_report()["matmul_precision"] == "float32"
    assert (jax.config.values["jax_default_matmul_precision"], torch.get_float32_matmul_precision()) == before
