"""Bicubic resampling of a part of an image to the network's input size, compiled, with what follows it in one pass."""

import functools

import numpy as np

from workloads.common.compiled import compiled
from workloads.common.imagenet.crops import cubic_taps

_CACHED_LENGTHS = 4_096
_CHANNELS = 3


def resample_into(
    out: np.ndarray, image: np.ndarray, box: np.ndarray, flip: bool, subtract: np.ndarray, multiply: np.ndarray
) -> None:
    """Writes the `box` of an image, mirrored where `flip`, less `subtract` [3] and times `multiply` [3].

    Args:
      out: float32 [size, size, 3], contiguous.
      image: uint8 [height, width, 3], contiguous.
      box: (top, left, height, width), inside the image.
    """
    top, left, height, width = (int(edge) for edge in box)
    size = len(out)
    rows, row_weights = _taps(height, size)
    columns, column_weights = _taps(width, size)
    _resample(
        out.reshape(size, -1),
        image.reshape(len(image), -1),
        (top, _CHANNELS * left, _CHANNELS * width),
        rows,
        row_weights,
        columns,
        column_weights,
        flip,
        subtract,
        multiply,
    )


@functools.lru_cache(_CACHED_LENGTHS)
def _taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    positions, weights = cubic_taps(np.zeros(1, np.int64), np.array([length]), size)
    return positions[0], weights[0]


@compiled
def _resample(out, image, crop, rows, row_weights, columns, column_weights, flip, subtract, multiply):
    top, left, width = crop
    size = len(out)
    line = np.empty(width, np.float32)
    for y in range(size):
        a, b = image[top + rows[y, 0], left:], image[top + rows[y, 1], left:]
        c, d = image[top + rows[y, 2], left:], image[top + rows[y, 3], left:]
        wa, wb, wc, wd = row_weights[y, 0], row_weights[y, 1], row_weights[y, 2], row_weights[y, 3]
        for x in range(width):
            line[x] = wa * np.float32(a[x]) + wb * np.float32(b[x]) + wc * np.float32(c[x]) + wd * np.float32(d[x])
        for x in range(size):
            p, q, r, s = 3 * columns[x, 0], 3 * columns[x, 1], 3 * columns[x, 2], 3 * columns[x, 3]
            wp, wq = column_weights[x, 0], column_weights[x, 1]
            wr, ws = column_weights[x, 2], column_weights[x, 3]
            target = 3 * (size - 1 - x) if flip else 3 * x
            for k in range(3):
                value = wp * line[p + k] + wq * line[q + k] + wr * line[r + k] + ws * line[s + k]
                out[y, target + k] = (value - subtract[k]) * multiply[k]


@compiled
def as_pixels(values):
    """uint8 [height, width, 3] of float32: clipped to 0 ... 255, what is behind the point cut off."""
    pixels = np.empty(values.shape, np.uint8)
    flat_values, flat_pixels = values.reshape(-1), pixels.reshape(-1)
    for number in range(len(flat_values)):
        flat_pixels[number] = np.uint8(min(max(flat_values[number], np.float32(0)), np.float32(255)))
    return pixels


@compiled
def normalise_into(out, pixels, subtract, multiply):
    """Writes float32 of uint8 [height, width, 3], less `subtract` [3] and times `multiply` [3]."""
    flat_out, flat_pixels = out.reshape(-1), pixels.reshape(-1)
    for first in range(0, len(flat_out), 3):
        for k in range(3):
            flat_out[first + k] = (np.float32(flat_pixels[first + k]) - subtract[k]) * multiply[k]
