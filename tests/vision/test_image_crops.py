import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.common.imagenet.crops import (
    DRAWS_PER_CROP,
    MIN_COVERED,
    central_boxes,
    random_boxes,
    resample_many,
)
from workloads.common.imagenet.definition import ImageNetData
from workloads.common.imagenet.resample import as_pixels, normalise_into, resample_into

DATA = ImageNetData()
sizes_of_images = st.tuples(st.integers(20, 700), st.integers(20, 700))


def resample(
    image: np.ndarray, box: np.ndarray, size: int, flip: bool, *, subtract: float = 0, multiply: float = 1
) -> np.ndarray:
    out = np.empty((size, size, 3), np.float32)
    resample_into(out, image, box, flip, np.full(3, subtract, np.float32), np.full(3, multiply, np.float32))
    return out


@pytest.mark.parametrize(
    ("size", "box"),
    [((375, 500), (24, 86, 328, 328)), ((333, 500), (21, 105, 291, 291)), ((256, 256), (16, 16, 224, 224))],
)
def test_central_boxes(size: tuple[int, int], box: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(central_boxes(np.array([size]), DATA)[0], box)


@given(sizes_of_images, st.integers(0, 2**32))
@settings(max_examples=60)
def test_random_boxes_lie_inside_and_cover_enough(size: tuple[int, int], seed: int) -> None:
    draws = np.random.default_rng(seed).random((50, DRAWS_PER_CROP))
    top, left, height, width = random_boxes(draws, np.tile(size, (50, 1)), DATA).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= size[0]).all()
    assert (left + width <= size[1]).all()
    central = central_boxes(np.array([size]), DATA)[0]
    is_central = (np.stack([top, left, height, width], 1) == central).all(1)
    area = height * width / (size[0] * size[1])
    assert ((area >= min(MIN_COVERED, DATA.area_range[0]) - 1e-9) | is_central).all()
    slack = 1 / height  # one pixel of width
    aspect = width / height
    assert ((aspect >= DATA.aspect_range[0] - slack) & (aspect <= DATA.aspect_range[1] + slack) | is_central).all()


def test_random_boxes_use_the_whole_range() -> None:
    draws = np.random.default_rng(0).random((4000, DRAWS_PER_CROP))
    boxes = random_boxes(draws, np.tile((375, 500), (4000, 1)), DATA)
    area = boxes[:, 2] * boxes[:, 3] / (375 * 500)
    assert area.min() < 0.12
    assert area.max() > 0.95


def test_a_box_without_change_of_size_copies_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    box = np.array([5, 9, 32, 32])
    np.testing.assert_allclose(resample(image, box, 32, False), image[5:37, 9:41], atol=1e-3)
    np.testing.assert_allclose(resample(image, box, 32, True), image[5:37, 9:41][:, ::-1], atol=1e-3)


def test_bicubic_overshoot_of_a_step_edge_is_that_of_tf_image_resize() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[:, 150:] = 255
    resized = resample(image, np.array([0, 0, 300, 300]), 224, False)
    # TensorFlow 2.19 gives -14.93 and 269.93; it rounds positions to 1/1024 pixel.
    np.testing.assert_allclose([resized.min(), resized.max()], [-14.93, 269.93], atol=0.03)


@given(sizes_of_images, st.integers(1, 40))
@settings(max_examples=30)
def test_weights_add_up_to_one(size: tuple[int, int], side: int) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    resized = resample(image, np.array([0, 0, *size]), side, False)
    np.testing.assert_allclose(resized, 200, atol=1e-3)


def test_resampling_many_equals_resampling_each() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (20, 40, 36, 3)).astype(np.uint8)
    data = ImageNetData(image_size=24, resize_size=28)
    boxes = random_boxes(rng.random((20, DRAWS_PER_CROP)), np.tile((40, 36), (20, 1)), data)
    boxes[:3] = [[0, 0, 40, 36], [0, 0, 3, 2], [37, 34, 3, 2]]  # edges, where taps fall outside
    flips = rng.random(20) < 0.5
    each = [resample(image, box, 24, bool(flip)) for image, box, flip in zip(images, boxes, flips, strict=True)]
    np.testing.assert_allclose(resample_many(images, boxes, 24, flips), each, atol=2e-3)


def test_normalisation_in_the_same_pass() -> None:
    rng = np.random.default_rng(2)
    image, box = rng.integers(0, 256, (60, 50, 3)).astype(np.uint8), np.array([3, 2, 41, 37])
    plain = resample(image, box, 24, True)
    together = resample(image, box, 24, True, subtract=120, multiply=0.25)
    np.testing.assert_array_equal(together, (plain - np.float32(120)) * np.float32(0.25))
    pixels = as_pixels(2 * plain - 100)
    np.testing.assert_array_equal(pixels, np.clip(2 * plain - 100, 0, 255).astype(np.uint8))
    assert {0, 255} <= {*pixels.ravel().tolist()}
    mean, scale = np.array([1, 2, 3], np.float32), np.array([0.5, 0.25, 0.125], np.float32)
    normalise_into(together, pixels, mean, scale)
    np.testing.assert_array_equal(together, (pixels.astype(np.float32) - mean) * scale)
