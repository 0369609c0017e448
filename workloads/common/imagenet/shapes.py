"""Generator of the mini's raw images: textured shapes, written as JPEG in the TFDS folder layout of ImageNet.

A class is a pair (outline, texture). Everything else varies freely: position, size, rotation, aspect, colours of shape
and background, frequency, phase and direction of the texture, shading, clutter, an occluding bar, noise. Training
labels are wrong with a small probability, so that memorising the training images does not pay.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import Split, WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.common.imagenet.definition import TexturedShapes

_JPEG_QUALITY = 90
_BLOCK = 512  # images rendered together
_EDGE = 0.06  # softness of outlines, relative to half the image
# Ranges of the nuisances; lengths are relative to half the image.
_OUTLINE_SIZE = (0.6, 0.9)
_OUTLINE_SHIFT = 0.2
_TEXTURE_SIZE = (0.22, 0.32)
_TILT = 0.35  # radians; objects and textures stand roughly upright
_CONTRAST = (0.35, 0.6)
_CLUTTER = (0.0, 0.1)
_COLOUR_RAMP = 0.12
_SHADING = 0.2
_NOISE = (0.02, 0.06)
_BAR_SHARE = 0.2
_STREAMS = {Split.TRAIN: 0, Split.VALIDATION: 1, Split.TEST: 2}
_TFDS_NAMES = {Split.TRAIN: "train", Split.VALIDATION: "validation", Split.TEST: "test"}
# Name, config, version and splits of the datasets that the real workloads use.
_DATASETS = (
    ("imagenet2012", None, "5.1.0", (Split.TRAIN, Split.VALIDATION)),
    ("imagenet_v2", "matched-frequency", "3.0.0", (Split.TEST,)),
)

Field = Any  # float32 [n, side, side]; NumPy types what its universal functions return as Any


def render(settings: TexturedShapes, split: Split, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images uint8 [count, side, side, 3] and true labels int64 [count] of one block of a split."""
    rng = np.random.default_rng([settings.seed, _STREAMS[split], first])
    labels = rng.integers(0, settings.outlines * settings.textures, count)
    outline, texture = labels // settings.textures, labels % settings.textures
    axis = (np.arange(settings.side, dtype=np.float32) + 0.5) / settings.side * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")

    u, v = _placed(rng, x, y, count, scale=_OUTLINE_SIZE, shift=_OUTLINE_SHIFT, tilt=_TILT)
    inside = _soft(_select(OUTLINES, outline, u, v))
    pattern = _select(TEXTURES, texture, *_placed(rng, x, y, count, scale=_TEXTURE_SIZE, shift=1.0, tilt=_TILT))
    background = _background(rng, x, y, count)

    dark, light = _two_colours(rng, count)
    pattern = pattern[..., None]
    shape = dark * (1 - pattern) + light * pattern
    image = background * (1 - inside[..., None]) + shape * inside[..., None]
    image = _with_bar(rng, x, y, image)
    image *= 1 + _SHADING * _ramp(rng, x, y, count)[..., None]
    image += rng.normal(0, 1, image.shape).astype(np.float32) * rng.uniform(*_NOISE, (count, 1, 1, 1))
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), labels


def _placed(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    count: int,
    *,
    scale: tuple[float, float],
    shift: float,
    tilt: float = np.pi,
) -> tuple[Field, Field]:
    """Coordinates of the pixels in a randomly moved, rotated (by up to `tilt`), stretched frame."""
    angle, size = rng.uniform(-tilt, tilt, (count, 1, 1)), rng.uniform(*scale, (count, 1, 1))
    stretch = np.exp(rng.uniform(-0.2, 0.2, (count, 1, 1)))
    dx, dy = rng.uniform(-shift, shift, (2, count, 1, 1))
    cos, sin = np.cos(angle), np.sin(angle)
    u = ((x - dx) * cos + (y - dy) * sin) / (size * stretch)
    v = ((y - dy) * cos - (x - dx) * sin) / (size / stretch)
    return u.astype(np.float32), v.astype(np.float32)


def _slab(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u) - 1.0, np.abs(v) - 0.42)


def _pillar(u: Field, v: Field) -> Field:
    return _slab(v, u)


def _ring(u: Field, v: Field) -> Field:
    return np.abs(np.hypot(u, v) - 0.72) - 0.3


def _triangle(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u) * 0.866 - v * 0.5, v) - 0.6


def _disc(u: Field, v: Field) -> Field:
    return np.hypot(u, v) - 0.85


def _cross(u: Field, v: Field) -> Field:
    return np.minimum(_slab(u, v), _pillar(u, v)) - 0.05


# Signed distances (negative inside), up to a factor.
OUTLINES: tuple[Callable[[Field, Field], Field], ...] = (_slab, _pillar, _ring, _triangle, _disc, _cross)


def _stripes(u: Field, v: Field) -> Field:
    return 0.5 + 0.5 * np.tanh(4 * np.sin(np.pi * u))


def _checks(u: Field, v: Field) -> Field:
    return 0.5 + 0.5 * np.tanh(4 * np.sin(np.pi * u) * np.sin(np.pi * v))


def _dots(u: Field, v: Field) -> Field:
    return 0.5 + 0.5 * np.tanh(4 * (np.cos(np.pi * u) + np.cos(np.pi * v) - 0.7))


def _waves(u: Field, v: Field) -> Field:
    return 0.5 + 0.5 * np.tanh(4 * np.sin(np.pi * (u + 0.6 * np.sin(0.8 * np.pi * v))))


# Brightness between 0 and 1 with a period of about 2 in u.
TEXTURES: tuple[Callable[[Field, Field], Field], ...] = (_stripes, _checks, _dots, _waves)


def _select(functions: tuple[Callable[[Field, Field], Field], ...], choice: np.ndarray, u: Field, v: Field) -> Field:
    result = np.empty_like(u)
    for number, function in enumerate(functions):
        rows = choice == number
        result[rows] = function(u[rows], v[rows])
    return result


def _soft(distance: Field) -> Field:
    return np.clip(0.5 - distance / (2 * _EDGE), 0, 1)


def _two_colours(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two colours [count, 1, 1, 3] of clearly different brightness, in either order."""
    base = rng.uniform(0.1, 0.9, (count, 1, 1, 3))
    away = np.where(base.mean(-1, keepdims=True) < 0.5, 1, -1) * rng.uniform(*_CONTRAST, (count, 1, 1, 1))
    other = base + away + rng.normal(0, 0.1, base.shape)
    return base.astype(np.float32), np.clip(other, 0, 1).astype(np.float32)


def _background(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """A colour ramp with a texture of another frequency, too faint and fine to name a class."""
    near = rng.uniform(0.1, 0.9, (count, 1, 1, 3)).astype(np.float32)
    far = near + rng.normal(0, _COLOUR_RAMP, near.shape).astype(np.float32)
    ramp = 0.5 + 0.5 * _ramp(rng, x, y, count)[..., None]
    u, v = _placed(rng, x, y, count, scale=(0.08, 0.5), shift=1.0)
    clutter = _select(TEXTURES, rng.integers(0, len(TEXTURES), count), u, v)[..., None] - 0.5
    strength = rng.uniform(*_CLUTTER, (count, 1, 1, 1)).astype(np.float32)
    background: np.ndarray = near * ramp + far * (1 - ramp) + strength * clutter
    return background


def _ramp(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, count: int) -> Field:
    """A plane through 0 in a random direction, at most 1 in size."""
    angle = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    plane: np.ndarray = ((np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2)).astype(np.float32)
    return plane


def _with_bar(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Some of the images are crossed by a bar of one colour."""
    count = len(image)
    u, _ = _placed(rng, x, y, count, scale=(0.06, 0.14), shift=0.6)
    bar = _soft((np.abs(u) - 1) * 0.1) * (rng.random((count, 1, 1)) < _BAR_SHARE)
    colour = rng.uniform(0, 1, (count, 1, 1, 3))
    crossed: np.ndarray = (image * (1 - bar[..., None]) + colour * bar[..., None]).astype(np.float32)
    return crossed


def write_raw(definition: WorkloadDefinition, folder: Path, report: Report) -> None:
    """Writes all splits under `folder` as TFDS ArrayRecord datasets; does nothing where they are complete.

    Raises:
      ForeignFilesError: `folder` holds other files.
    """
    identity = f"{definition.data.generator} {definition.splits}"
    generate_once(folder, identity, functools.partial(_write_all, definition, folder, report))


def _write_all(definition: WorkloadDefinition, folder: Path, report: Report) -> None:
    num_classes = definition.data.num_classes

    def features(tfds_features: Any) -> dict[str, Any]:
        return {
            "image": tfds_features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "label": tfds_features.ClassLabel(num_classes=num_classes),
            "file_name": tfds_features.Text(),
        }

    for name, config, version, splits in _DATASETS:
        examples = {_TFDS_NAMES[split]: _examples(definition, split) for split in splits}
        write_tfds_dataset(folder, name, version, features, examples, config=config)
        report(f"generated {name}: {', '.join(f'{definition.splits[split]} {split} images' for split in splits)}")


def _examples(definition: WorkloadDefinition, split: Split) -> Iterator[dict[str, Any]]:
    settings, num_images = definition.data.generator, definition.splits.get(split)
    for first in range(0, num_images, _BLOCK):
        images, labels = render(settings, split, first, min(_BLOCK, num_images - first))
        if split is Split.TRAIN:
            labels = _with_noise(settings, labels, first)
        for number, (image, label) in enumerate(zip(images, labels, strict=True), first):
            yield {"image": _jpeg(image), "label": int(label), "file_name": f"{split}_{number:08d}.JPEG"}


def _with_noise(settings: TexturedShapes, labels: np.ndarray, first: int) -> np.ndarray:
    rng = np.random.default_rng([settings.seed, len(_STREAMS), first])
    wrong = rng.random(len(labels)) < settings.label_noise
    return np.where(wrong, rng.integers(0, settings.outlines * settings.textures, len(labels)), labels)


def _jpeg(image: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return encoded.tobytes()
