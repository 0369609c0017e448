"""What the ImageNet workloads share: sizes of splits and the description of their input pipeline."""

from dataclasses import dataclass, field

from algoperf.definition import Direction, MetricSpec, SplitSizes
from algoperf.digest import NOT_IN_STORE

ACCURACY = MetricSpec(name="accuracy", direction=Direction.MAXIMIZE)
LOSS = MetricSpec(name="loss", direction=Direction.MINIMIZE)

DATASET = "imagenet"
MINI_DATASET = "imagenet_mini"


@dataclass(frozen=True, kw_only=True)
class TexturedShapes:
    """Generator of the mini's images: a class is a pair (outline, texture); everything else is nuisance.

    Attributes:
      seed: seed of the whole dataset.
      outlines, textures: numbers of shape outlines and of texture families; classes = outlines * textures.
      side: height and width of the stored JPEG images, in pixels.
      label_noise: probability that a training label is drawn uniformly from all classes.
    """

    seed: int
    outlines: int
    textures: int
    side: int
    label_noise: float


@dataclass(frozen=True, kw_only=True)
class ImageNetData:
    """The input pipeline of an ImageNet workload.

    Attributes:
      num_classes: number of labels.
      image_size: height and width of the network's input, in pixels.
      resize_size: an evaluation crops the central square of min(height, width) * image_size / resize_size pixels.
      train_mean, train_stddev: per channel (red, green, blue), on the scale 0 to 255.
      area_range: area of the random crop as a fraction of the image.
      aspect_range: width over height of the random crop.
      rand_augment: whether training images go through RandAugment.
      translate_px, cutout_px: RandAugment's largest translation and half the side of its cut-out, in pixels.
      mixup_alpha: parameter of the Beta distribution of mixup; None means no mixup.
      decoded: whether the store keeps decoded pixels (small equal-sized images) instead of JPEG bytes.
      generator: how the mini's images are made; None for the real dataset.
    """

    num_classes: int = 1000
    image_size: int = 224
    resize_size: int = 256
    train_mean: tuple[float, float, float] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    train_stddev: tuple[float, float, float] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
    area_range: tuple[float, float] = field(default=(0.08, 1.0), metadata=NOT_IN_STORE)
    aspect_range: tuple[float, float] = field(default=(0.75, 4 / 3), metadata=NOT_IN_STORE)
    rand_augment: bool = field(default=False, metadata=NOT_IN_STORE)
    translate_px: int = field(default=100, metadata=NOT_IN_STORE)
    cutout_px: int = field(default=40, metadata=NOT_IN_STORE)
    mixup_alpha: float | None = field(default=None, metadata=NOT_IN_STORE)
    decoded: bool = False
    generator: TexturedShapes | None = None


def full_splits(eval_batch_size: int) -> SplitSizes:
    """ImageNet-2012 for training and validation, ImageNet-v2 (matched frequency) as the test set.

    `eval_train` is the number of validation examples rounded up to whole evaluation batches.
    """
    validation = 50_000
    eval_train = -(-validation // eval_batch_size) * eval_batch_size
    return SplitSizes(train=1_281_167, eval_train=eval_train, validation=validation, test=10_000)


MINI_SPLITS = SplitSizes(train=8192, eval_train=512, validation=2048, test=1024)
MINI_GENERATOR = TexturedShapes(seed=2012, outlines=4, textures=4, side=40, label_noise=0.1)
