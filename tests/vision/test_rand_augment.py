import numpy as np
import pytest
from PIL import Image, ImageOps

from workloads.common.imagenet import rand_augment as ra


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(110, 35, (48, 40, 3)), 5, 240).astype(np.uint8)


def test_sixteen_operations() -> None:
    assert len(set(ra.OPERATIONS)) == 16


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ra.autocontrast, ImageOps.autocontrast), (ra.equalize, ImageOps.equalize)]
)
def test_histogram_operations_equal_pillows(image: np.ndarray, ours, theirs) -> None:
    difference = ours(image).astype(int) - np.asarray(theirs(Image.fromarray(image))).astype(int)
    assert np.abs(difference).max() <= 1  # Pillow rounds, TensorFlow cuts off


def test_posterize_and_solarize_add(image: np.ndarray) -> None:
    np.testing.assert_array_equal(ra.posterize(image), image // 16 * 16)
    expected = np.where(image < 128, np.minimum(image.astype(int) + 110, 255), image)
    np.testing.assert_array_equal(ra.solarize_add(image), expected)


def test_the_two_peculiar_operations(image: np.ndarray) -> None:
    np.testing.assert_array_equal(ra.solarize(image), 255 - image)
    constant = 48 * 40 // 256
    expected = np.clip(constant + 1.9 * (image.astype(np.float64) - constant), 0, 255).astype(int)
    assert np.abs(ra.contrast(image).astype(int) - expected).max() <= 1
    large = np.full((224, 224, 3), 196, np.uint8)
    np.testing.assert_array_equal(ra.contrast(large), large)


def test_sharpness_keeps_borders_and_flat_areas(image: np.ndarray) -> None:
    sharp = ra.sharpness(image)
    np.testing.assert_array_equal(sharp[0], image[0])
    np.testing.assert_array_equal(sharp[:, -1], image[:, -1])
    flat = np.full((10, 10, 3), 77, np.uint8)
    assert np.abs(ra.sharpness(flat).astype(int) - 77).max() <= 1
    inside = image[1:-1, 1:-1].astype(int)
    assert sharp[1:-1, 1:-1].astype(int).std() > inside.std()


def test_translations_move_pixels_and_fill_with_grey(image: np.ndarray) -> None:
    moved = ra.translate_x(image, 7.0)
    np.testing.assert_array_equal(moved[:, :-7], image[:, 7:])
    assert (moved[:, -7:] == 128).all()
    moved = ra.translate_y(image, -5.0)
    np.testing.assert_array_equal(moved[5:], image[:-5])
    assert (moved[:5] == 128).all()


def test_rotation_keeps_the_centre_and_fills_corners() -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    rotated = ra.rotate(image, 1.0)
    assert rotated[20, 20, 0] == 255
    assert (rotated[0, 0] == 128).all()
    np.testing.assert_array_equal(ra.rotate(image, -1.0), rotated[::-1])


def test_cutout_is_cut_at_borders(image: np.ndarray) -> None:
    image = np.zeros_like(image)
    assert (ra.cutout(image, 0.5, 0.5, 6) == 128).all(-1).sum() == 12 * 12
    assert (ra.cutout(image, 0.0, 0.0, 6) == 128).all(-1).sum() == 6 * 6


def test_each_operation_is_chosen_equally_often_and_draws_decide_everything(image: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        draws = rng.random(ra.DRAWS)
        once, again = (ra.rand_augment(image, draws, translate_px=10, cutout_px=4) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert once.dtype == np.uint8
        assert once.shape == image.shape
    for number, operation in enumerate(ra.OPERATIONS):
        draws = np.full(ra.DRAWS, 0.3)
        draws[0] = (number + 0.5) / len(ra.OPERATIONS)
        draws[ra.DRAWS_PER_LAYER] = 2.5 / len(ra.OPERATIONS)  # second layer: invert
        assert ra.OPERATIONS[2] is ra.invert
        arguments = {ra.rotate: (1.0,), ra.shear_x: (1.0,), ra.shear_y: (1.0,), ra.translate_x: (10.0,)}
        arguments |= {ra.translate_y: (10.0,), ra.cutout: (0.3, 0.3, 4)}
        expected = 255 - operation(image, *arguments.get(operation, ()))
        np.testing.assert_array_equal(ra.rand_augment(image, draws, translate_px=10, cutout_px=4), expected)
