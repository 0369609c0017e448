"""Images decoded and augmented per second and core: this pipeline, torchvision, tf.data, and the decoders alone.

  python benchmarks/vision_input.py [--torchvision_python=PYTHON] [--tensorflow_python=PYTHON] [--images=300]

The images are synthetic photographs of 375 x 500 pixels and about 110 KB, the mean of ImageNet. Training work for each:
decode, random resized crop to 224, flip, normalise; with RandAugment two operations more. Every pipeline runs with one
thread in a process of its own, one after the other; the interpreters given must have torchvision or TensorFlow
installed. Rates are per second of CPU time. "Before" is what this pipeline did until it decoded crops alone: whole
images, sparse products, normalisation by itself; both take turns in one process, their pixels are compared, and the
ratio is what to look at. Then the worker pool of this pipeline with one and two processes, per second of wall time
(meaningful on an idle machine only), and preparation: images per second of CPU time, and the largest memory.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
REPEATS = 3
PREPARED_IMAGES = 2_500  # more than two parts of a store, so that memory is as large as it gets


def write_images(folder: Path, count: int) -> None:
    """Smooth colour fields with fine texture, so that files are as large as real ones."""
    import cv2
    import numpy as np

    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = cv2.resize(
            rng.integers(0, 256, (24, 32, 3)).astype(np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC
        )
        fine = cv2.GaussianBlur(rng.normal(0, 75, (375, 500, 3)), (0, 0), 1.0)
        pixels = np.clip(coarse + fine, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:05d}.JPEG"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])


def per_second(work, count: int, clock=time.process_time, repeats: int = REPEATS) -> float:
    """Best of several passes over all images; by default per second of this process's CPU time, so of one core."""
    best = 0.0
    for _ in range(repeats):
        started = clock()
        work()
        best = max(best, count / (clock() - started))
    return round(best, 1)


def encoded(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.JPEG"))]


def decoders(folder: Path) -> dict[str, float]:
    import io

    import cv2
    import numpy as np
    from PIL import Image

    cv2.setNumThreads(0)
    files = encoded(folder)
    decode = {
        "opencv": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB),
        "pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")),
    }
    try:
        import simplejpeg

        decode["simplejpeg (libjpeg-turbo)"] = simplejpeg.decode_jpeg
    except ImportError:
        pass
    return {
        f"decode only, {name}": per_second(lambda function=function: [function(data) for data in files], len(files))
        for name, function in decode.items()
    }


def ours(folder: Path) -> dict[str, float]:
    import cv2
    import numpy as np

    from workloads.common.imagenet.augment import Augmentation, inputs_of_files
    from workloads.common.imagenet.definition import ImageNetData
    from workloads.common.imagenet.jpeg_crops import CroppableJpeg
    from workloads.common.imagenet.restart_intervals import with_restart_intervals

    cv2.setNumThreads(0)
    originals = encoded(folder)
    prepared = [with_restart_intervals(file) for file in originals]
    buffers = [np.empty((16, 224, 224, 3), np.float32) for _ in range(2)]

    def work(make, files: list[bytes], buffer, data: ImageNetData, train: bool) -> None:
        for first in range(0, len(files), 16):
            some = files[first : first + 16]
            indices = np.arange(first, first + len(some))
            augmentation = Augmentation(seed=0, epochs=np.zeros_like(indices), indices=indices) if train else None
            make(some, data, augmentation, buffer[: len(some)])

    def now(files, *arguments) -> None:
        inputs_of_files([CroppableJpeg(file, "") for file in files], *arguments)

    rates = {}
    for name, data, train in (
        ("train", ImageNetData(), True),
        ("train + RandAugment", ImageNetData(rand_augment=True), True),
        ("evaluation", ImageNetData(), False),
    ):
        for files, make, buffer in ((originals, before, buffers[0]), (prepared, now, buffers[1])):
            work(make, files[:16], buffer, data, train)
        if not np.array_equal(*buffers):
            raise SystemExit(f"{name}: other pixels than before")
        best = [0.0, 0.0]
        for _ in range(REPEATS + 2):
            for number, (files, make) in enumerate(((originals, before), (prepared, now))):
                once = functools.partial(work, make, files, buffers[0], data, train)
                best[number] = max(best[number], per_second(once, len(files), repeats=1))
        rates[f"algoperf, {name}, before"], rates[f"algoperf, {name}"] = best
        rates[f"algoperf, {name}, ratio"] = best[1] / best[0]
    return rates


def before(files: list[bytes], data, augmentation, out) -> None:
    """What took place until crops were decoded alone."""
    import numpy as np

    from workloads.common.imagenet import rand_augment as ra
    from workloads.common.imagenet.crops import DRAWS_PER_CROP, central_boxes, random_boxes
    from workloads.common.imagenet.jpeg_crops import decode

    images = [decode(np.frombuffer(file, np.uint8)) for file in files]
    sizes = np.array([image.shape[:2] for image in images])
    if augmentation is None:
        boxes, flips = central_boxes(sizes, data), np.zeros(len(images), bool)
    else:
        draws = augmentation.draws(DRAWS_PER_CROP + 1 + (ra.DRAWS if data.rand_augment else 0))
        boxes, flips = random_boxes(draws[:, :DRAWS_PER_CROP], sizes, data), draws[:, DRAWS_PER_CROP] < 0.5
    for number, image in enumerate(images):
        out[number] = sparse_resample(image, boxes[number], data.image_size, bool(flips[number]))
    if augmentation is not None and data.rand_augment:
        for image, image_draws in zip(out, draws[:, DRAWS_PER_CROP + 1 :], strict=True):
            pixels = np.clip(image, 0, 255).astype(np.uint8)
            image[:] = ra.rand_augment(pixels, image_draws, translate_px=data.translate_px, cutout_px=data.cutout_px)
    rows = out.reshape(len(out), data.image_size, -1)
    rows -= np.tile(np.array(data.train_mean, np.float32), data.image_size)
    rows *= np.tile(1 / np.array(data.train_stddev, np.float32), data.image_size)


def sparse_resample(image, box, size: int, flip: bool):
    import cv2
    import numpy as np
    from scipy.sparse import csr_matrix

    from workloads.common.imagenet.crops import cubic_taps

    def matrix(length: int, step: int):
        positions, weights = cubic_taps(np.zeros(1, np.int64), np.array([length]), size)
        row_ends = np.arange(0, 4 * size + 1, 4, dtype=np.int32)
        entries = (weights[0, ::step].ravel(), positions[0, ::step].astype(np.int32).ravel(), row_ends)
        return csr_matrix(entries, shape=(size, length))

    top, left, height, width = (int(edge) for edge in box)
    crop = image[top : top + height, left : left + width].astype(np.float32)
    half_way = (matrix(height, 1) @ crop.reshape(height, -1)).reshape(size, width, 3)
    sideways = cv2.transpose(half_way).reshape(width, -1)
    return cv2.transpose((matrix(width, -1 if flip else 1) @ sideways).reshape(size, size, 3))


def preparation(folder: Path) -> dict[str, float]:
    """The images of the folder, repeated to several parts, from class folders to a store."""
    import dataclasses
    import resource

    from algoperf.definition import SplitSizes
    from workloads.common.imagenet.definition import ImageNetData
    from workloads.common.imagenet.prepare import prepare
    from workloads.imagenet_resnet.definition import BASE

    files = sorted(folder.glob("*.JPEG"))
    sizes = SplitSizes(train=PREPARED_IMAGES, eval_train=1, validation=1, test=1)
    definition = dataclasses.replace(BASE, splits=sizes, data=ImageNetData(num_classes=1))
    with tempfile.TemporaryDirectory() as directory:
        for split, count in (("train", PREPARED_IMAGES), ("val", 1), ("imagenetv2-matched-frequency-format-val", 1)):
            target = Path(directory) / "raw" / split / "0"
            target.mkdir(parents=True)
            for number in range(count):
                (target / f"{number:06d}.JPEG").symlink_to(files[number % len(files)])
        started = time.process_time()
        prepare(
            definition,
            Path(directory),
            source_dir=Path(directory) / "raw",
            num_workers=2,
            report=lambda message: None,
        )
        rate = PREPARED_IMAGES / (time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"preparation": rate, "preparation, largest memory, GB": peak}


def torchvision_(folder: Path) -> dict[str, float]:
    import io

    import torch
    from PIL import Image
    from torchvision import transforms

    torch.set_num_threads(1)
    files = encoded(folder)
    tail = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    crop = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]

    def work(transform) -> None:
        for data in files:
            transform(Image.open(io.BytesIO(data)).convert("RGB"))

    plain = transforms.Compose([*crop, *tail])
    augmented = transforms.Compose([*crop, transforms.RandAugment(), *tail])
    central = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *tail])
    return {
        "torchvision, train": per_second(lambda: work(plain), len(files)),
        "torchvision, train + RandAugment": per_second(lambda: work(augmented), len(files)),
        "torchvision, evaluation": per_second(lambda: work(central), len(files)),
    }


def tensorflow_(folder: Path) -> dict[str, float]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    files = tf.data.Dataset.from_tensor_slices(encoded(folder)).cache()
    mean, stddev = tf.constant([123.675, 116.28, 103.53]), tf.constant([58.395, 57.12, 57.375])

    def train(data):
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(data),
            tf.zeros([1, 0, 4]),
            min_object_covered=0.1,
            aspect_ratio_range=(0.75, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        image = tf.image.resize(image, (224, 224), "bicubic")
        return (tf.image.random_flip_left_right(image) - mean) / stddev

    def central(data):
        image = tf.image.decode_and_crop_jpeg(data, [24, 86, 328, 328], channels=3)
        return (tf.image.resize(image, (224, 224), "bicubic") - mean) / stddev

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False

    def work(function) -> None:
        for _ in files.map(function, num_parallel_calls=1).batch(16).with_options(options):
            pass

    count = len(encoded(folder))
    return {
        "tf.data, train": per_second(lambda: work(train), count),
        "tf.data, evaluation": per_second(lambda: work(central), count),
    }


def pool(folder: Path) -> dict[str, float]:
    import dataclasses

    import numpy as np

    from algoperf.data import BatchRequest, Store, StoreWriter
    from algoperf.data.shards import part_name
    from workloads.common.imagenet import source, workers
    from workloads.common.imagenet.definition import ImageNetData
    from workloads.common.imagenet.restart_intervals import with_restart_intervals

    files = encoded(folder)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "imagenet"
        with StoreWriter(root, {"images_per_part": len(files)}) as writer:
            writer.add("train_labels", np.zeros(len(files), np.int32))
        files = [with_restart_intervals(file) for file in files]
        with StoreWriter(root / part_name("train", 0), {}) as writer:
            writer.add("bytes", np.frombuffer(b"".join(files), np.uint8))
            writer.add("offsets", np.cumsum([0, *map(len, files)], dtype=np.int64))
        results = {}
        for name, data in (("train", ImageNetData()), ("train + RandAugment", ImageNetData(rand_augment=True))):
            images = source.ImageSource(Store(root), "train", dataclasses.replace(data), None)
            indices = np.arange(len(files))
            request = BatchRequest(indices=indices, batch_size=len(files), seed=0, epochs=np.zeros_like(indices))
            for num_workers in (1, 2):
                processes = workers.WorkerPool(num_workers)
                source.shared_pool = lambda processes=processes: processes
                images.read(request)
                results[f"algoperf, {name}, {num_workers} worker processes"] = per_second(
                    lambda images=images, request=request: images.read(request), len(files), time.perf_counter
                )
                processes.close()
    return results


PARTS = {
    "decoders": decoders,
    "ours": ours,
    "torchvision": torchvision_,
    "tensorflow": tensorflow_,
    "pool": pool,
    "preparation": preparation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchvision_python", default=sys.executable)
    parser.add_argument("--tensorflow_python", default=sys.executable)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--part", choices=PARTS, help="measure one part on the folder --images_dir, in this process")
    parser.add_argument("--images_dir", type=Path)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.images_dir)))
        return
    interpreters = {"torchvision": options.torchvision_python, "tensorflow": options.tensorflow_python}
    with tempfile.TemporaryDirectory() as directory:
        write_images(Path(directory), options.images)
        sizes = [path.stat().st_size for path in Path(directory).iterdir()]
        print(f"{len(sizes)} images of {sum(sizes) / len(sizes) / 1e3:.0f} KB")
        for part in options.parts:
            command = [interpreters.get(part, sys.executable), __file__, "--part", part, "--images_dir", directory]
            done = subprocess.run(
                command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"{part}: skipped ({done.stderr.strip().splitlines()[-1]})")
                continue
            for name, rate in json.loads(done.stdout.splitlines()[-1]).items():
                unit = "images/s" if rate > 20 else ""
                print(f"{name:45s} {rate:8.2f} {unit}", flush=True)


if __name__ == "__main__":
    main()
