"""RandAugment at full magnitude: two operations for each image, drawn from sixteen.

Source: Cubuk et al., RandAugment, 2020, with the operations and strengths of AlgoPerf's JAX pipeline. Two of these are
peculiar and kept, because published targets were set with them: `solarize` inverts every pixel, and `contrast` blends
with the constant height * width / 256 instead of the mean grey.
"""

from collections.abc import Callable

import cv2
import numpy as np

LAYERS = 2
DRAWS_PER_LAYER = 4  # operation, sign, and two coordinates of the cut-out
DRAWS = LAYERS * DRAWS_PER_LAYER

_FILL = 128
_FACTOR = 1.9  # blending beyond the image, away from the degenerate one
_ROTATION_DEGREES = 30
_SHEAR = 0.3
_POSTERIZE_BITS = 4
_SOLARIZE_ADD, _SOLARIZE_BELOW = 110, 128
_SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_GREY_WEIGHTS = np.array([[0.2989, 0.5870, 0.1140]], np.float32)


def rand_augment(image: np.ndarray, draws: np.ndarray, *, translate_px: int, cutout_px: int) -> np.ndarray:
    """Returns uint8 [height, width, 3].

    Args:
      image: uint8 [height, width, 3].
      draws: uniform numbers [DRAWS].
      translate_px: distance of translations.
      cutout_px: half the side of the square that `cutout` greys.
    """
    for layer in range(LAYERS):
        choice, sign, y, x = draws[layer * DRAWS_PER_LAYER : (layer + 1) * DRAWS_PER_LAYER]
        operation = OPERATIONS[int(choice * len(OPERATIONS))]
        signed = 1.0 if sign < 0.5 else -1.0
        if operation in (translate_x, translate_y):
            image = operation(image, signed * translate_px)
        elif operation in (rotate, shear_x, shear_y):
            image = operation(image, signed)
        elif operation is cutout:
            image = cutout(image, float(y), float(x), cutout_px)
        else:
            image = operation(image)
    return image


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Stretches each channel to 0 ... 255."""
    extremes = np.array([cv2.minMaxLoc(channel)[:2] for channel in cv2.split(image)], np.float32)
    low, high = extremes[:, 0], extremes[:, 1]
    scale = 255 / np.maximum(high - low, 1)
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip((levels - low) * scale, 0, 255)
    return _look_up(image, np.where(high > low, table, levels).astype(np.uint8))


def equalize(image: np.ndarray) -> np.ndarray:
    """Equalises the histogram of each channel, as the Python Imaging Library does."""
    table = np.empty((256, 3), np.uint8)
    for channel in range(3):
        counts = np.bincount(image[..., channel].ravel(), minlength=256)
        step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
        if step == 0:
            table[:, channel] = np.arange(256)
        else:
            below = np.concatenate([[0], np.cumsum(counts)[:-1]])
            table[:, channel] = np.clip((below + step // 2) // step, 0, 255)
    return _look_up(image, table)


def invert(image: np.ndarray) -> np.ndarray:
    return 255 - image


def solarize(image: np.ndarray) -> np.ndarray:
    """Inverts pixels of at least the threshold, which is 0."""
    return 255 - image


def posterize(image: np.ndarray) -> np.ndarray:
    shift = 8 - _POSTERIZE_BITS
    return image >> shift << shift


def solarize_add(image: np.ndarray) -> np.ndarray:
    """Brightens dark pixels."""
    levels = np.arange(256)
    return cv2.LUT(image, np.where(levels < _SOLARIZE_BELOW, levels + _SOLARIZE_ADD, levels).astype(np.uint8))


def color(image: np.ndarray) -> np.ndarray:
    """Moves away from grey."""
    grey = cv2.transform(image.astype(np.float32), _GREY_WEIGHTS)
    return _away_from(np.floor(grey)[..., None], image)


def contrast(image: np.ndarray) -> np.ndarray:
    """Moves away from a constant that depends on the size alone (see the module)."""
    constant = min(image.shape[0] * image.shape[1] / 256, 255.0)
    return _away_from(np.float32(int(constant)), image)


def brightness(image: np.ndarray) -> np.ndarray:
    """Moves away from black."""
    return _away_from(np.float32(0), image)


def sharpness(image: np.ndarray) -> np.ndarray:
    """Moves away from a smoothed image; border pixels stay."""
    smooth = image.astype(np.float32)
    filtered = cv2.filter2D(smooth, -1, _SMOOTHING)
    smooth[1:-1, 1:-1] = np.floor(np.clip(filtered[1:-1, 1:-1], 0, 255))
    return _away_from(smooth, image)


def rotate(image: np.ndarray, sign: float) -> np.ndarray:
    height, width = image.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    return _warp(image, cv2.getRotationMatrix2D(centre, sign * _ROTATION_DEGREES, 1.0))


def shear_x(image: np.ndarray, sign: float) -> np.ndarray:
    return _warp(image, np.array([[1, sign * _SHEAR, 0], [0, 1, 0]]))


def shear_y(image: np.ndarray, sign: float) -> np.ndarray:
    return _warp(image, np.array([[1, 0, 0], [sign * _SHEAR, 1, 0]]))


def translate_x(image: np.ndarray, distance: float) -> np.ndarray:
    return _warp(image, np.array([[1, 0, distance], [0, 1, 0]]))


def translate_y(image: np.ndarray, distance: float) -> np.ndarray:
    return _warp(image, np.array([[1, 0, 0], [0, 1, distance]]))


def cutout(image: np.ndarray, y: float, x: float, half_side: int) -> np.ndarray:
    """Greys a square around the pixel at the shares (y, x) of height and width, cut at the borders."""
    row, column = int(y * image.shape[0]), int(x * image.shape[1])
    image = image.copy()
    image[max(row - half_side, 0) : row + half_side, max(column - half_side, 0) : column + half_side] = _FILL
    return image


OPERATIONS: tuple[Callable[..., np.ndarray], ...] = (
    autocontrast,
    equalize,
    invert,
    rotate,
    posterize,
    solarize,
    color,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    cutout,
    solarize_add,
)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Maps each channel of `image` by its column of `table` uint8 [256, 3]."""
    return cv2.LUT(image, np.ascontiguousarray(table)[:, None, :])


def _away_from(degenerate: np.ndarray | np.float32, image: np.ndarray) -> np.ndarray:
    image = image.astype(np.float32)
    moved: np.ndarray = degenerate + np.float32(_FACTOR) * (image - degenerate)
    pixels: np.ndarray = np.clip(moved, 0, 255).astype(np.uint8)
    return pixels


def _warp(image: np.ndarray, output_to_input: np.ndarray) -> np.ndarray:
    """Nearest pixel of `image` at the transformed position of each output pixel."""
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image,
        output_to_input.astype(np.float64),
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(_FILL, _FILL, _FILL),
    )
