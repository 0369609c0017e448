"""The encoded images of one split of a prepared store, by index."""

from pathlib import Path

import numpy as np

from algoperf.data import Store
from algoperf.data.shards import part_name
from workloads.common.imagenet.jpeg_crops import CroppableJpeg


class EncodedImages:
    """Opens the parts of a split on first use.

    Args:
      store_dir: the prepared store.
      split: `train`, `validation` or `test`.
      images_per_part: images of every part but the last.
    """

    def __init__(self, store_dir: Path, split: str, images_per_part: int) -> None:
        self._store_dir = store_dir
        self._split = split
        self._images_per_part = images_per_part
        self._parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def image(self, index: int) -> CroppableJpeg:
        number, row = divmod(index, self._images_per_part)
        if number not in self._parts:
            part = Store(self._store_dir / part_name(self._split, number))
            self._parts[number] = np.asarray(part["bytes"]), np.array(part["offsets"])
        encoded, offsets = self._parts[number]
        path = self._store_dir / part_name(self._split, number)
        return CroppableJpeg(encoded[offsets[row] : offsets[row + 1]].tobytes(), f"image {row} of {path}")
