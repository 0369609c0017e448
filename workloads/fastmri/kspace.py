"""From k-space to images: undersampling masks, inverse Fourier transform, crop, normalisation.

The prepared store keeps slices half transformed: along rows, which are never undersampled, they are images already and
cropped; along columns they are k-space. Undersampling then leaves whole columns out, and they are never read.
"""

import functools

import numpy as np

from workloads.common.random_numbers import uniforms
from workloads.fastmri.definition import FastMRIData


def centred_inverse_fft(kspace: np.ndarray, axis: int) -> np.ndarray:
    """Orthonormal inverse transform along `axis`, with zero frequency and origin in the middle; complex64."""
    shifted = np.fft.ifftshift(kspace, axes=axis)
    return np.fft.fftshift(np.fft.ifft(shifted, axis=axis, norm="ortho"), axes=axis).astype(np.complex64, copy=False)


def half_transformed(kspace: np.ndarray, image_size: int) -> np.ndarray:
    """Returns columns complex64 [slices, columns, image_size] of `kspace` [slices, rows, columns]."""
    rows = centred_inverse_fft(kspace, axis=1)
    first = (kspace.shape[1] - image_size) // 2
    return np.ascontiguousarray(rows[:, first : first + image_size].transpose(0, 2, 1))


def centre_columns(num_columns: int, data: FastMRIData) -> np.ndarray:
    """Boolean [num_columns]: the low frequencies that are always kept."""
    num_kept = int(data.centre_fraction * num_columns)
    first = (num_columns - num_kept + 1) // 2
    mask = np.zeros(num_columns, bool)
    mask[first : first + num_kept] = True
    return mask


def column_masks(seeds: np.ndarray, num_columns: int, data: FastMRIData) -> np.ndarray:
    """Boolean [n, num_columns]: which columns are kept, num_columns / acceleration on average.

    Args:
      seeds: int64 [n, 2]; see `workloads.common.random_numbers.uniforms`.
    """
    centre = centre_columns(num_columns, data)
    num_centre = int(centre.sum())
    probability = (num_columns / data.acceleration - num_centre) / (num_columns - num_centre)
    return centre | (uniforms(seeds, num_columns) < probability)


@functools.cache
def evaluation_columns(num_columns: int, data: FastMRIData) -> np.ndarray:
    """Positions int64 of the columns that every validation and test slice of this width keeps."""
    return np.flatnonzero(column_masks(np.zeros((1, 2), np.int64), num_columns, data)[0])


def image_of(retained: np.ndarray, positions: np.ndarray, num_columns: int) -> np.ndarray:
    """Returns the magnitude float32 [image_size, image_size] of one slice.

    Args:
      kept: complex64 [k, image_size], columns of `half_transformed`.
      positions: int64 [k], their places among `num_columns`; the others count as zero.
    """
    image_size = retained.shape[1]
    columns = np.zeros((num_columns, image_size), np.complex64)
    columns[positions] = retained
    first = (num_columns - image_size) // 2
    image = centred_inverse_fft(columns, axis=0)[first : first + image_size]
    magnitude: np.ndarray = np.abs(image).T
    return magnitude


def normalised(image: np.ndarray, target: np.ndarray, clip: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Shifts and scales both by mean and standard deviation of `image`, and clips; returns those two numbers too.

    An image without any contrast is divided by one.
    """
    mean, std = image.mean(), image.std()
    divisor = std if std > 0 else np.float32(1)
    scaled = (np.clip((intensities - mean) / divisor, -clip, clip) for intensities in (image, target))
    return *scaled, float(mean), float(divisor)
