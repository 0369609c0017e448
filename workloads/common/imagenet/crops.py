"""Which part of an image is used, and how it is resampled to the network's input size.

Resampling is bicubic without antialiasing and without clipping (values may leave [0, 255]); taps outside the crop do
not count. Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, with a = -1/2.
"""

import numpy as np

from workloads.common.imagenet.definition import ImageNetData

ATTEMPTS = 10  # random crops that are tried before the central one is taken
DRAWS_PER_CROP = 4 * ATTEMPTS
MIN_COVERED = 0.1  # least share of the image that a random crop keeps
_TAPS = 4


def central_boxes(sizes: np.ndarray, data: ImageNetData) -> np.ndarray:
    """Returns boxes int64 [n, 4] (top, left, height, width): central squares of images of `sizes` [n, 2]."""
    sizes = np.asarray(sizes)
    side = np.trunc(data.image_size / data.resize_size * sizes.min(axis=1)).astype(np.int64)
    corner = (sizes - side[:, None] + 1) // 2
    return np.stack([corner[:, 0], corner[:, 1], side, side], axis=1)


def random_boxes(draws: np.ndarray, sizes: np.ndarray, data: ImageNetData) -> np.ndarray:
    """Returns random boxes int64 [n, 4] (top, left, height, width) inside images of `sizes` int64 [n, 2].

    The aspect ratio is uniform in its range; the height is uniform among those for which the area is in its range. An
    image for which `ATTEMPTS` draws give no valid box, or the whole image, gets the central box.

    Args:
      draws: uniform numbers [n, DRAWS_PER_CROP].
    """
    sizes = np.asarray(sizes)
    boxes = central_boxes(sizes, data)
    open_ = np.ones(len(sizes), bool)
    for attempt in range(ATTEMPTS):
        rows = np.flatnonzero(open_)
        if not len(rows):
            break
        box, valid = _try_boxes(draws[rows, 4 * attempt : 4 * attempt + 4], sizes[rows], data)
        whole = (box[:, 2:] == sizes[rows]).all(axis=1)
        boxes[rows[valid & ~whole]] = box[valid & ~whole]
        open_[rows[valid]] = False
    return boxes


def _try_boxes(draws: np.ndarray, sizes: np.ndarray, data: ImageNetData) -> tuple[np.ndarray, np.ndarray]:
    """Returns one candidate box [n, 4] for each image, and whether it is valid [n]."""
    image_height, image_width = sizes[:, 0], sizes[:, 1]
    aspect = data.aspect_range[0] + draws[:, 0] * (data.aspect_range[1] - data.aspect_range[0])
    min_area, max_area = (share * image_height * image_width for share in data.area_range)
    lowest = np.rint(np.sqrt(min_area / aspect))
    highest = np.rint(np.sqrt(max_area / aspect))
    highest = np.minimum(highest, np.minimum(image_height, np.floor((image_width + 0.49) / aspect)))
    lowest = np.minimum(lowest, highest)
    height = np.minimum(lowest + np.floor(draws[:, 1] * (highest - lowest + 1)), highest)
    width = np.rint(height * aspect)
    # Rounding may push the area just outside its range.
    height += height * width < min_area
    height -= height * width > max_area
    width = np.rint(height * aspect)
    area = height * width
    valid = (
        (area >= np.maximum(min_area, MIN_COVERED * image_height * image_width))
        & (area <= max_area)
        & (width >= 1)
        & (width <= image_width)
        & (height <= image_height)
    )
    top = np.floor(draws[:, 2] * np.maximum(image_height - height, 1))
    left = np.floor(draws[:, 3] * np.maximum(image_width - width, 1))
    return np.stack([top, left, height, width], axis=1).astype(np.int64), valid


def cubic_taps(starts: np.ndarray, lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 [n, size, 4] and weights float32 [n, size, 4] that resample `lengths` [n] pixels to `size`.

    Positions are those of the whole image: the crop begins at `starts` [n].
    """
    lengths = np.asarray(lengths)[:, None]
    centres = (np.arange(size) + 0.5) * (lengths / size) - 0.5
    positions = np.floor(centres).astype(np.int64)[..., None] + np.arange(-1, _TAPS - 1)
    t = np.abs(centres[..., None] - positions)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((2.5 - 0.5 * t) * t - 4) * t + 2
    weights = np.where(t <= 1, near, np.where(t < 2, far, 0))
    last = lengths[..., None] - 1
    weights[(positions < 0) | (positions > last)] = 0
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.clip(positions, 0, last) + np.asarray(starts)[:, None, None], weights.astype(np.float32)


def resample_many(images: np.ndarray, boxes: np.ndarray, size: int, flips: np.ndarray) -> np.ndarray:
    """The `boxes` of images uint8 [n, height, width, 3] of one small size, mirrored where `flips`, by dense products.

    Returns float32 [n, size, size, 3].
    """
    num, height, width, channels = images.shape
    rows = _dense_taps(boxes[:, 0], boxes[:, 2], size, height)
    columns = _dense_taps(boxes[:, 1], boxes[:, 3], size, width)
    columns[flips] = columns[flips, ::-1]
    half_way = (rows @ images.reshape(num, height, -1).astype(np.float32)).reshape(num, size, width, channels)
    resized: np.ndarray = columns[:, None] @ half_way
    return resized


def _dense_taps(starts: np.ndarray, lengths: np.ndarray, size: int, length: int) -> np.ndarray:
    positions, weights = cubic_taps(starts, lengths, size)
    matrices = np.zeros((len(starts), size, length), np.float32)
    image, row = np.ogrid[: len(starts), :size]
    for tap in range(_TAPS):
        # Taps outside the crop have weight 0 and a clipped position: adding keeps the tap that is really there.
        matrices[image, row, positions[..., tap]] += weights[..., tap]
    return matrices
