"""The encoded images of one split of a prepared store, by index."""

from pathlib import Path

import cv2
import numpy as np

from algoperf.data import Store, StoreError
from algoperf.data.shards import part_name
from workloads.common.imagenet.raw import RawDataError


def decode(encoded: np.ndarray) -> np.ndarray:
    """Returns uint8 [height, width, 3], red first, of JPEG bytes uint8 [length]; grey images become three channels."""
    # OpenCV measured faster than Pillow and as fast as direct libjpeg-turbo bindings (benchmarks/vision_input.py).
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise RawDataError(f"{len(encoded)} bytes of a prepared store are no image; verify or prepare the store again")
    return image


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

    def decoded(self, index: int) -> np.ndarray:
        """Returns image `index` as uint8 [height, width, 3]."""
        number, row = divmod(index, self._images_per_part)
        if number not in self._parts:
            part = Store(self._store_dir / part_name(self._split, number))
            self._parts[number] = np.asarray(part["bytes"]), np.array(part["offsets"])
        encoded, offsets = self._parts[number]
        try:
            return decode(encoded[offsets[row] : offsets[row + 1]])
        except RawDataError as error:
            path = self._store_dir / part_name(self._split, number)
            raise StoreError(
                f"image {row} of {path} cannot be decoded; delete {self._store_dir} and prepare it again"
            ) from error
