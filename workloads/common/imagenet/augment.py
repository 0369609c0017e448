"""From decoded images to the network's inputs: crop, flip, RandAugment, normalisation, mixup."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workloads.common.imagenet import rand_augment as ra
from workloads.common.imagenet.crops import DRAWS_PER_CROP, central_boxes, random_boxes, resample_many
from workloads.common.imagenet.definition import ImageNetData
from workloads.common.imagenet.jpeg_crops import CroppableJpeg
from workloads.common.imagenet.resample import as_pixels, normalise_into, resample_into
from workloads.common.random_numbers import example_seeds, uniforms

_FLIP = DRAWS_PER_CROP
_RAND_AUGMENT = DRAWS_PER_CROP + 1
_MIXUP_STREAM = 1 << 39  # beyond any example's index


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What makes the inputs of training examples random: a function of (seed, epoch, index) for each.

    Attributes:
      seed: of the run.
      epochs, indices: int64 [n].
    """

    seed: int
    epochs: np.ndarray
    indices: np.ndarray

    def __getitem__(self, rows: slice) -> "Augmentation":
        """The same for some of the examples."""
        return Augmentation(seed=self.seed, epochs=self.epochs[rows], indices=self.indices[rows])

    def draws(self, count: int) -> np.ndarray:
        return uniforms(example_seeds(self.seed, self.epochs, self.indices), count)


def inputs_of_pixels(
    images: np.ndarray, data: ImageNetData, augmentation: Augmentation | None, out: np.ndarray
) -> None:
    """Writes float32 inputs [n, size, size, 3] of `images` uint8 [n, height, width, 3] into `out`.

    Without an `augmentation`, inputs are the central crops.
    """
    crops = _crops(np.tile(images.shape[1:3], (len(images), 1)), data, augmentation)
    out[:] = resample_many(images, crops.boxes, data.image_size, crops.flips)
    if data.rand_augment and augmentation is not None:
        for row, draws in zip(out, crops.rand_augment, strict=True):
            row[:] = _rand_augmented(row, draws, data)
    rows = out.reshape(len(out), data.image_size, -1)  # NumPy is slow at repeating along an axis of length 3
    subtract, multiply = _normalisation(data)
    rows -= np.tile(subtract, data.image_size)
    rows *= np.tile(multiply, data.image_size)


def inputs_of_files(
    files: Sequence[CroppableJpeg], data: ImageNetData, augmentation: Augmentation | None, out: np.ndarray
) -> None:
    """As `inputs_of_pixels` for encoded images of any sizes, of which only the crops are decoded.

    Raises:
      StoreError: a file cannot be decoded; the message names it.
    """
    crops = _crops(np.array([file.size for file in files]), data, augmentation)
    subtract, multiply = _normalisation(data)
    is_augmented = data.rand_augment and augmentation is not None
    plain = np.zeros(3, np.float32), np.ones(3, np.float32)
    for row, file in enumerate(files):
        box = crops.boxes[row]
        pixels, top, left = file.decoded_around(box)
        inside = np.array([box[0] - top, box[1] - left, box[2], box[3]])
        steps = plain if is_augmented else (subtract, multiply)
        resample_into(out[row], pixels, inside, bool(crops.flips[row]), *steps)
        if is_augmented:
            normalise_into(out[row], _rand_augmented(out[row], crops.rand_augment[row], data), subtract, multiply)


class _Crops(NamedTuple):
    """Boxes int64 [n, 4], whether they are mirrored [n], and the draws of RandAugment [n, ...]."""

    boxes: np.ndarray
    flips: np.ndarray
    rand_augment: np.ndarray


def _crops(sizes: np.ndarray, data: ImageNetData, augmentation: Augmentation | None) -> _Crops:
    if augmentation is None:
        return _Crops(central_boxes(sizes, data), np.zeros(len(sizes), bool), np.empty((len(sizes), 0)))
    draws = augmentation.draws(_RAND_AUGMENT + (ra.DRAWS if data.rand_augment else 0))
    return _Crops(random_boxes(draws[:, :_FLIP], sizes, data), draws[:, _FLIP] < 0.5, draws[:, _RAND_AUGMENT:])


def _normalisation(data: ImageNetData) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted, and what the rest is multiplied by."""
    return np.array(data.train_mean, np.float32), 1 / np.array(data.train_stddev, np.float32)


def _rand_augmented(image: np.ndarray, draws: np.ndarray, data: ImageNetData) -> np.ndarray:
    return ra.rand_augment(as_pixels(image), draws, translate_px=data.translate_px, cutout_px=data.cutout_px)


def mixup(inputs: np.ndarray, labels: np.ndarray, data: ImageNetData, augmentation: Augmentation) -> np.ndarray:
    """Blends each example with the one before it (the first with the last), in place, by one share for the batch.

    Args:
      inputs: float32 [n, ...].
      labels: integers [n].

    Returns:
      Targets float32 [n, num_classes].

    Raises:
      ValueError: the pipeline has no `mixup_alpha`.
    """
    if data.mixup_alpha is None:
        raise ValueError("mixup needs a mixup_alpha; this workload has none")
    stream = (int(augmentation.epochs[0]) << 40) | _MIXUP_STREAM | int(augmentation.indices[0])
    share = np.float32(np.random.default_rng([augmentation.seed, stream]).beta(data.mixup_alpha, data.mixup_alpha))
    last, scratch = inputs[-1].copy(), np.empty_like(inputs[0])
    for number in range(len(inputs) - 1, -1, -1):  # backwards: the one before is still unblended
        np.multiply(inputs[number - 1] if number else last, 1 - share, out=scratch)
        inputs[number] *= share
        inputs[number] += scratch
    targets = np.zeros((len(labels), data.num_classes), np.float32)
    rows = np.arange(len(labels))
    targets[rows, labels] += share
    targets[rows, np.roll(labels, 1)] += 1 - share
    return targets
