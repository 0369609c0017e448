"""What a process of `workloads.common.imagenet.workers` does. Imports no framework."""

import functools
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from workloads.common.imagenet.augment import Augmentation, inputs_of_files
from workloads.common.imagenet.definition import ImageNetData
from workloads.common.imagenet.images import EncodedImages

_PARENT_CHECK_PERIOD_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Task:
    """Images to prepare, and where to put them.

    Attributes:
      store_dir, split, images_per_part: see `EncodedImages`.
      data: the pipeline.
      indices: int64 [n].
      augmentation: None in evaluation.
      buffer: path of a shared memory file of float32 [rows, size, size, 3].
      first_row: row of the first image.
    """

    store_dir: Path
    split: str
    images_per_part: int
    data: ImageNetData
    indices: np.ndarray
    augmentation: Augmentation | None
    buffer: str
    first_row: int


def initialise(parent: int) -> None:
    """Prepares this process, which ends when the process `parent` that started it has ended, however that ended."""
    cv2.setNumThreads(0)
    os.setsid()  # an interrupt at the keyboard is for the parent; and sessions share busy cores evenly
    threading.Thread(target=_end_with_process, args=(parent,), daemon=True).start()


def _end_with_process(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_PERIOD_S)
    os._exit(1)


def perform(task: Task) -> None:
    """Fills rows of the task's buffer; stores stay open for the next task."""
    stored = _open(task.store_dir, task.split, task.images_per_part)
    images = [stored.image(int(index)) for index in task.indices]
    size = task.data.image_size
    shape = (len(images), size, size, 3)
    offset = task.first_row * size * size * 3 * np.dtype(np.float32).itemsize
    out = np.memmap(task.buffer, np.float32, mode="r+", offset=offset, shape=shape)
    inputs_of_files(images, task.data, task.augmentation, np.asarray(out))


@functools.cache
def _open(store_dir: Path, split: str, images_per_part: int) -> EncodedImages:
    return EncodedImages(store_dir, split, images_per_part)
