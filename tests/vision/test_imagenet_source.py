import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from imagenet_files import definition, write_class_folders

from algoperf.data import BatchRequest, StoreError, TrainPipeline
from algoperf.definition import Split
from workloads.common.imagenet import source as image_source
from workloads.common.imagenet.augment import Augmentation, mixup
from workloads.common.imagenet.prepare import prepare
from workloads.common.imagenet.source import fake_batch, open_split
from workloads.common.imagenet.workers import WorkerError, WorkerPool

AUGMENTED = {"rand_augment": True, "translate_px": 8, "cutout_px": 4}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imagenet")
    source_dir = write_class_folders(root / "raw")
    prepare(definition(), root, source_dir=source_dir, num_workers=1, report=lambda message: None)
    return root


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch):
    """A pool of one worker that ends with the test."""
    pools = WorkerPool(1)
    monkeypatch.setattr(image_source, "shared_pool", lambda: pools)
    yield pools
    pools.close()


def request(indices: list[int], *, seed: int = 3, epoch: int = 0) -> BatchRequest:
    epochs = np.full(len(indices), epoch)
    return BatchRequest(indices=np.array(indices), batch_size=len(indices), seed=seed, epochs=epochs)


def test_an_augmented_image_is_a_function_of_seed_epoch_and_index(data_dir: Path) -> None:
    source = open_split(definition(**AUGMENTED), Split.TRAIN, data_dir)
    together = source.read(request([4, 9, 1]))["inputs"]
    np.testing.assert_array_equal(source.read(request([9]))["inputs"][0], together[1])
    np.testing.assert_array_equal(source.read(request([1, 4]))["inputs"], together[[2, 0]])
    for other in (request([4, 9, 1], seed=4), request([4, 9, 1], epoch=1)):
        assert all((a != b).any() for a, b in zip(source.read(other)["inputs"], together, strict=True))


def test_resuming_gives_the_same_images(data_dir: Path) -> None:
    source = open_split(definition(**AUGMENTED), Split.TRAIN, data_dir)
    pipeline = TrainPipeline(source, batch_size=4, seed=8)
    batches = [next(pipeline) for _ in range(6)]  # 24 of 18 images: into the second epoch
    resumed = next(TrainPipeline(source, batch_size=4, seed=8, start_batch=5))
    for leaf, value in resumed.items():
        np.testing.assert_array_equal(value, batches[5][leaf])


def test_the_number_of_workers_changes_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_source, "_IMAGES_PER_TASK", 2)
    source = open_split(definition(**AUGMENTED), Split.TRAIN, data_dir)
    alone = source.read(request(list(range(9))))["inputs"]
    two = WorkerPool(2)
    monkeypatch.setattr(image_source, "shared_pool", lambda: two)
    np.testing.assert_array_equal(source.read(request(list(range(9))))["inputs"], alone)
    two.close()


def test_evaluation_is_not_random_and_eval_train_is_a_part_of_train(data_dir: Path) -> None:
    source = open_split(definition(), Split.EVAL_TRAIN, data_dir)
    assert len(source) == 8
    batches = [source.read(BatchRequest(indices=np.arange(8), batch_size=10)) for _ in range(2)]
    np.testing.assert_array_equal(batches[0]["inputs"], batches[1]["inputs"])
    train = open_split(definition(), Split.TRAIN, data_dir)
    everything = train.read(BatchRequest(indices=np.arange(18), batch_size=18))["inputs"]
    matches = (batches[0]["inputs"][:8, None] == everything).all((2, 3, 4))
    np.testing.assert_array_equal(matches.sum(1), 1)


def test_mixup_blends_neighbours_and_their_targets(data_dir: Path) -> None:
    plain = open_split(definition(), Split.TRAIN, data_dir).read(request([0, 7, 14, 2]))
    mixed = open_split(definition(mixup_alpha=0.2), Split.TRAIN, data_dir).read(request([0, 7, 14, 2]))
    assert mixed["targets"].dtype == np.float32
    np.testing.assert_allclose(mixed["targets"].sum(1), 1, rtol=1e-6)
    share = mixed["targets"][1, plain["targets"][1]]
    assert plain["targets"].tolist() == [0, 1, 2, 0]
    expected = share * plain["inputs"] + (1 - share) * np.roll(plain["inputs"], 1, axis=0)
    np.testing.assert_allclose(mixed["inputs"], expected, atol=1e-5)


def test_mixup_shares_follow_the_beta_distribution() -> None:
    data = definition(mixup_alpha=0.2).data
    shares = []
    for epoch in range(400):
        who = Augmentation(seed=1, epochs=np.full(2, epoch), indices=np.arange(2))
        shares.append(mixup(np.zeros((2, 1), np.float32), np.array([0, 1]), data, who)[0, 0])
    shares = np.array(shares)
    assert abs(shares.mean() - 0.5) < 0.08
    assert abs(shares.var() - 0.25 / 1.4) < 0.03  # variance of Beta(0.2, 0.2)


def test_fake_batches_look_like_training_batches(data_dir: Path) -> None:
    for changes in ({}, {"mixup_alpha": 0.2}):
        real = open_split(definition(**changes), Split.TRAIN, data_dir).read(request([0, 1]))
        fake = fake_batch(definition(**changes), 2, seed=0)
        for leaf, value in real.items():
            assert (value.shape, value.dtype) == (fake[leaf].shape, fake[leaf].dtype)


def test_an_error_in_a_worker_comes_back_and_names_the_file(data_dir: Path) -> None:
    part = data_dir / "prepared" / "imagenet" / "train_0000" / "bytes.npy"
    content = part.read_bytes()
    part.write_bytes(bytes(len(content)))
    try:
        with pytest.raises(StoreError, match=r"image 0 of .*train_0000 cannot be decoded"):
            open_split(definition(), Split.TRAIN, data_dir).read(request([0]))
    finally:
        part.write_bytes(content)


PARENT = """
import json, os, sys, time
import psutil
from pathlib import Path
import numpy as np
from algoperf.data import BatchRequest
from algoperf.definition import Split
from workloads.common.imagenet.source import open_split
from imagenet_files import definition
source = open_split(definition(), Split.TRAIN, Path(sys.argv[1]))
source.read(BatchRequest(indices=np.arange(4), batch_size=4, seed=0, epochs=np.zeros(4, int)))
children = [(child.pid, " ".join(child.cmdline())) for child in psutil.Process().children(recursive=True)]
print(json.dumps([pid for pid, command in children if "LokyProcess" in command]), flush=True)
time.sleep(60)
"""


def modules_mapped_by(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_workers_import_no_framework_and_leave_nothing_when_their_parent_is_killed(data_dir: Path) -> None:
    environment = {
        **os.environ,
        "ALGOPERF_DATA_WORKERS": "2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(data_dir)], stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        pids = json.loads(parent.stdout.readline())
        assert len(pids) == 2
        for pid in pids:
            mapped = modules_mapped_by(pid)
            assert "/cv2/" in mapped
            assert "libtorch" not in mapped
            assert "jaxlib" not in mapped
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) or list(Path("/dev/shm").glob(f"*{parent.pid}*")):
        assert time.monotonic() < deadline, "workers or their shared memory outlive their parent"
        time.sleep(0.05)


def worker_processes() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if "LokyProcess" in " ".join(child.cmdline())}


def test_a_killed_worker_is_an_error_that_says_what_may_help(data_dir: Path, pool: WorkerPool) -> None:
    others = worker_processes()  # of pools that other tests have left open
    source = open_split(definition(), Split.TRAIN, data_dir)
    source.read(request([0]))
    (worker,) = worker_processes() - others
    worker.kill()
    with pytest.raises(WorkerError, match=r"memory may be short: try fewer workers \(ALGOPERF_DATA_WORKERS\)"):
        source.read(request([0]))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
