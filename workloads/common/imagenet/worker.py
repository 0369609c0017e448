"""A process that decodes and augments images for `workloads.common.imagenet.workers`. Imports no framework.

Reads pickled requests from standard input and answers each on standard output with None or an error. It ends when its
input does, which is when the process that started it closes it or dies, however it dies.
"""

import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from workloads.common.imagenet.augment import Augmentation, make_inputs
from workloads.common.imagenet.definition import ImageNetData
from workloads.common.imagenet.images import EncodedImages


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


def perform(task: Task, opened: dict[Any, EncodedImages]) -> None:
    """Fills rows of the task's buffer; keeps stores in `opened` for the next task."""
    key = (task.store_dir, task.split, task.images_per_part)
    if key not in opened:
        opened[key] = EncodedImages(*key)
    images = [opened[key].decoded(int(index)) for index in task.indices]
    size = task.data.image_size
    shape = (len(images), size, size, 3)
    offset = task.first_row * size * size * 3 * np.dtype(np.float32).itemsize
    out = np.memmap(task.buffer, np.float32, mode="r+", offset=offset, shape=shape)
    make_inputs(images, task.data, task.augmentation, np.asarray(out))


def main() -> None:
    cv2.setNumThreads(0)
    requests = sys.stdin.buffer
    # Anything that a library prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    opened: dict[Any, EncodedImages] = {}
    while True:
        try:
            task = pickle.load(requests)
        except EOFError:
            return
        error: Exception | None = None
        try:
            perform(task, opened)
        except Exception as raised:
            error = raised
        pickle.dump(error, answers)
        answers.flush()


if __name__ == "__main__":
    main()
