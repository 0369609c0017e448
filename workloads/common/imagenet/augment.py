"""From decoded images to the network's inputs: crop, flip, RandAugment, normalisation, mixup."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.common.imagenet import rand_augment as ra
from workloads.common.imagenet.crops import DRAWS_PER_CROP, central_boxes, random_boxes, resample, resample_many
from workloads.common.imagenet.definition import ImageNetData
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


def make_inputs(
    images: Sequence[np.ndarray] | np.ndarray, data: ImageNetData, augmentation: Augmentation | None, out: np.ndarray
) -> None:
    """Writes float32 inputs [n, size, size, 3] of `images` (each uint8 [height, width, 3]) into `out`.

    Without an `augmentation`, inputs are the central crops.
    """
    sizes = np.array([image.shape[:2] for image in images])
    if augmentation is None:
        boxes, flips = central_boxes(sizes, data), np.zeros(len(images), bool)
    else:
        draws = augmentation.draws(_RAND_AUGMENT + (ra.DRAWS if data.rand_augment else 0))
        boxes, flips = random_boxes(draws[:, :_FLIP], sizes, data), draws[:, _FLIP] < 0.5
    if isinstance(images, np.ndarray):
        out[:] = resample_many(images, boxes, data.image_size, flips)
    else:
        for number, image in enumerate(images):
            out[number] = resample(image, boxes[number], data.image_size, bool(flips[number]))
    if augmentation is not None and data.rand_augment:
        _rand_augment(out, draws[:, _RAND_AUGMENT:], data)
    _normalise(out, data)


def _normalise(out: np.ndarray, data: ImageNetData) -> None:
    """In place, by rows of pixels: NumPy is slow at repeating along an axis of length 3."""
    size = data.image_size
    rows = out.reshape(len(out), size, size * 3)
    rows -= np.tile(np.array(data.train_mean, np.float32), size)
    rows *= np.tile(1 / np.array(data.train_stddev, np.float32), size)


def _rand_augment(images: np.ndarray, draws: np.ndarray, data: ImageNetData) -> None:
    for image, image_draws in zip(images, draws, strict=True):
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        image[:] = ra.rand_augment(pixels, image_draws, translate_px=data.translate_px, cutout_px=data.cutout_px)


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
