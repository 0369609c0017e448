"""Small raw ImageNet folders for tests."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image

from algoperf.definition import SplitSizes, WorkloadDefinition
from workloads.common.imagenet.definition import ImageNetData
from workloads.imagenet_vit.definition import BASE

NUM_CLASSES = 3
PER_CLASS = {"train": 6, "val": 3, "imagenetv2-matched-frequency-format-val": 2}


def definition(**data: object) -> WorkloadDefinition:
    """A small relative of the ImageNet workloads; `data` changes its pipeline."""
    sizes = SplitSizes(train=18, eval_train=8, validation=9, test=6)
    pipeline = {"num_classes": NUM_CLASSES, "image_size": 24, "resize_size": 28} | data
    return dataclasses.replace(BASE, splits=sizes, data=ImageNetData(**pipeline))


def encoded(seed: int, *, mode: str = "RGB", file_format: str = "JPEG") -> bytes:
    """A smooth random image of 45 x 60 pixels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((60, 45), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def write_class_folders(root: Path) -> Path:
    """Class folders of all splits; returns `root`."""
    seed = 0
    for split, per_class in PER_CLASS.items():
        for label in range(NUM_CLASSES):
            folder = root / split / (str(label) if "v2" in split else f"n0000000{label}")
            folder.mkdir(parents=True)
            for number in range(per_class):
                (folder / f"image_{number}.JPEG").write_bytes(encoded(seed))
                seed += 1
    return root
