"""fastMRI slices per second of CPU time: the prepared store against whole two-dimensional transforms of raw k-space.

  python benchmarks/vision_fastmri.py [--slices=24]

Random k-space of the real size (640 x 372). The raw way is the definition of the task (mask, inverse transform along
both axes, crop, magnitude, normalisation) on arrays that are in memory already.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from algoperf.data import BatchRequest, Store, StoreWriter
from workloads.fastmri.data import SliceSource
from workloads.fastmri.definition import FastMRIData
from workloads.fastmri.kspace import evaluation_columns, half_transformed, normalised

ROWS, COLUMNS = 640, 372


def raw(kspace: np.ndarray, targets: np.ndarray, data: FastMRIData) -> list[np.ndarray]:
    mask = np.zeros(COLUMNS, np.float32)
    mask[evaluation_columns(COLUMNS, data)] = 1
    top, left = (ROWS - data.image_size) // 2, (COLUMNS - data.image_size) // 2
    inputs = []
    for values, target in zip(kspace, targets, strict=True):
        image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(values * mask), norm="ortho"))
        magnitude = np.abs(image[top : top + data.image_size, left : left + data.image_size])
        inputs.append(normalised(magnitude, target, data.clip)[0])
    return inputs


def rate(work, count: int) -> float:
    best = 0.0
    for _ in range(3):
        started = time.process_time()
        work()
        best = max(best, count / (time.process_time() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=24)
    count = parser.parse_args().slices
    data, rng = FastMRIData(), np.random.default_rng(0)
    shape = (count, ROWS, COLUMNS)
    kspace = (rng.standard_normal(shape, np.float32) + 1j * rng.standard_normal(shape, np.float32)).astype(np.complex64)
    targets = rng.random((count, data.image_size, data.image_size), np.float32)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "part"
        with StoreWriter(path, {}) as writer:
            writer.add("columns", half_transformed(kspace, data.image_size).reshape(-1, data.image_size))
            writer.add("first_column", np.arange(count + 1, dtype=np.int64) * COLUMNS)
            writer.add("targets", targets)
            writer.add("volume_max", np.ones(count, np.float32))
        source = SliceSource([Store(path)], data)
        request = BatchRequest(indices=np.arange(count), batch_size=count)
        expected, actual = raw(kspace, targets, data), source.read(request)["inputs"]
        print(f"largest difference of inputs: {np.abs(np.array(expected) - actual).max():.1e}")
        print(f"raw k-space, whole transforms: {rate(lambda: raw(kspace, targets, data), count):7.1f} slices/s")
        print(f"prepared store:                {rate(lambda: source.read(request), count):7.1f} slices/s")


if __name__ == "__main__":
    main()
