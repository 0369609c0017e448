"""No command removes or changes a file that the project did not write: each runs over folders with such files."""

import ast
import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from toy_runs import ROOT, config, endless, run, trial_dir

from algoperf.data import Store, is_complete
from algoperf.definition import SplitSizes, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.ownership import ForeignFilesError
from algoperf.prepare import ensure_prepared, prepare_dataset
from algoperf.registry import REGISTRY
from algoperf.target_setting.__main__ import main as target_setting
from algoperf.testing import toy_registry
from scoring import merge, simulate
from scoring.score_submissions import main as score

FOREIGN_NAMES = ("notes.txt", "deep/er/photo.jpg", "train.bin.mine", "store.json.old")
DIGITS = np.random.default_rng(0)


def seed(*folders: Path) -> dict[Path, bytes]:
    """Files of a person in every folder; returns their contents."""
    files = {folder / name: f"precious {folder / name}".encode() for folder in folders for name in FOREIGN_NAMES}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


def files_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_intact(files: dict[Path, bytes]) -> None:
    assert {path: path.read_bytes() if path.is_file() else None for path in files} == files


def tiny(name: str, data: dict | None = None, **sizes: int) -> WorkloadDefinition:
    definition = REGISTRY.get(name).shrunk()
    data_config = dataclasses.replace(definition.data, **(data or {}))
    return dataclasses.replace(definition, splits=SplitSizes(**{"test": None} | sizes), data=data_config)


def tiny_speech() -> WorkloadDefinition:
    definition = REGISTRY.get("librispeech_conformer_mini")
    generator = dataclasses.replace(definition.data.generator, train_speakers=2, eval_speakers=2)
    data = dataclasses.replace(definition.data, folder_sizes=(24, 4, 4), vocab_size=40, generator=generator)
    return dataclasses.replace(definition, data=data, splits=SplitSizes(train=24, eval_train=4, validation=4, test=4))


def quiet(message: str) -> None:
    pass


def tiny_language_model() -> WorkloadDefinition:
    definition = tiny("finewebedu_lm_mini", train=300, eval_train=20, validation=30)
    return dataclasses.replace(definition, model=dataclasses.replace(definition.model, vocab_size=320))


MINIS = {
    "finewebedu": tiny_language_model,
    "mnist": lambda: REGISTRY.get("mnist_mini"),
    "criteo1tb": lambda: tiny("criteo1tb_mini", train=70, eval_train=10, validation=15, test=13),
    "fastmri": lambda: tiny("fastmri_mini", {"validation_volumes": 1}, train=8, eval_train=8, validation=8, test=8),
    "imagenet": lambda: tiny("imagenet_resnet_mini", train=8, eval_train=4, validation=4, test=4),
    "librispeech": tiny_speech,
    "ogbg": lambda: tiny("ogbg_mini", train=20, eval_train=10, validation=10, test=10),
    "wmt": lambda: tiny("wmt_mini", train=900, eval_train=40, validation=30, test=20),
}
WORK_FOLDERS = {"wmt": [".wmt_mini.work"]}


@pytest.mark.parametrize("dataset", MINIS)
def test_preparing_a_mini_leaves_everything_else_alone(tmp_path, dataset):
    definition = MINIS[dataset]()
    name, prepared = definition.dataset, tmp_path / "prepared"
    elsewhere = seed(tmp_path, tmp_path / name, tmp_path / f"{name}_raw", tmp_path / f"{name}.parts", prepared)
    for place in (name, f"{name}.partial", f"{name}.parts", f"{name}_raw", *WORK_FOLDERS.get(dataset, ())):
        in_the_way = seed(prepared / place)
        with pytest.raises(ForeignFilesError, match=rf"{place} holds files .*move them elsewhere"):
            prepare_dataset(definition, tmp_path, report=quiet, num_workers=1)
        assert_intact(in_the_way)
        shutil.rmtree(prepared / place)
    prepare_dataset(definition, tmp_path, report=quiet, num_workers=1)
    assert is_complete(prepared / name)
    assert_intact(elsewhere)


def test_a_damaged_mini_with_files_of_a_person_is_not_replaced(tmp_path):
    registry = toy_registry()
    definition = registry.get("toy_mini")
    ensure_prepared(definition, tmp_path, quiet, registry=registry)
    files = seed(tmp_path / "prepared" / "toy_mini", tmp_path / "prepared" / "toy_mini_raw")
    (tmp_path / "prepared" / "toy_mini" / "inputs.npy").write_bytes(b"damaged")
    with pytest.raises(ForeignFilesError, match="toy_mini holds files"):
        ensure_prepared(definition, tmp_path, quiet, registry=registry)
    assert_intact(files)


def write_fastmri(root: Path) -> WorkloadDefinition:
    for folder, number in (("knee_singlecoil_train", 2), ("knee_singlecoil_val", 4)):
        (root / folder).mkdir(parents=True)
        for volume in range(number):
            with h5py.File(root / folder / f"file{10 * number + volume}.h5", "w") as file:
                file["kspace"] = DIGITS.normal(size=(2, 640, 368)).astype(np.complex64)
                file["reconstruction_esc"] = DIGITS.random((2, 320, 320)).astype(np.float32)
    base = REGISTRY.get("fastmri")
    sizes = SplitSizes(train=4, eval_train=2, validation=4, test=4)
    return dataclasses.replace(base, splits=sizes, data=dataclasses.replace(base.data, validation_volumes=2))


def write_criteo(root: Path) -> WorkloadDefinition:
    root.mkdir(parents=True)
    line = b"1\t" + b"5\t" * 13 + b"\t".join([b"0a1b2c3d"] * 26) + b"\n"
    for day in range(3):
        (root / f"day_{day}_00").write_bytes(line * 20)
    base = REGISTRY.get("criteo1tb")
    sizes = SplitSizes(train=40, eval_train=10, validation=10, test=10)
    return dataclasses.replace(base, splits=sizes, data=dataclasses.replace(base.data, num_days=3))


def write_imagenet(root: Path) -> WorkloadDefinition:
    for folder, classes in (("train", "ab"), ("val", "ab"), ("imagenetv2-matched-frequency-format-val", "01")):
        for name in classes:
            (root / folder / name).mkdir(parents=True)
            pixels = DIGITS.integers(0, 255, (50, 60, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / name / "a.JPEG")
    base = REGISTRY.get("imagenet_resnet")
    sizes = SplitSizes(train=2, eval_train=2, validation=2, test=2)
    return dataclasses.replace(base, splits=sizes, data=dataclasses.replace(base.data, num_classes=2))


def write_cifar(root: Path) -> WorkloadDefinition:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(bytes([1]) + bytes(3072))
    return tiny("cifar", train=4, eval_train=1, validation=1, test=1)


WRITERS = {"fastmri": write_fastmri, "criteo1tb": write_criteo, "imagenet": write_imagenet, "cifar": write_cifar}


@pytest.mark.parametrize("dataset", WRITERS)
def test_raw_data_may_lie_where_algoperf_keeps_them(tmp_path, dataset, monkeypatch):
    source = tmp_path / dataset
    definition = WRITERS[dataset](source)
    monkeypatch.setattr(REGISTRY.module(definition.name, "prepare"), "required_bytes", lambda definition: 1)
    seed(source)
    before = files_of(tmp_path)
    assert definition.dataset == dataset
    prepare_dataset(definition, tmp_path, report=quiet, source_dir=source, num_workers=1)
    Store(tmp_path / "prepared" / dataset)
    assert_intact(before)


@pytest.mark.torch
def test_overwriting_an_experiment_refuses_files_of_a_person(tmp_path):
    run(config(tmp_path, "pytorch", max_global_steps=2, use_tensorboard=True), endless())
    trial = trial_dir(tmp_path, "pytorch")
    files = seed(trial, trial.parent, tmp_path / "experiments")
    before = files_of(tmp_path / "experiments")
    with pytest.raises(UserError, match=r"trial_1 holds files .*move them elsewhere"):
        run(config(tmp_path, "pytorch", max_global_steps=2, overwrite=True), endless())
    assert files_of(tmp_path / "experiments") == before
    for path in files:
        if path.is_relative_to(trial):
            path.unlink()
    [result], _ = run(config(tmp_path, "pytorch", max_global_steps=2, overwrite=True), endless())
    assert result.record.global_step == 2
    assert_intact({path: content for path, content in files.items() if not path.is_relative_to(trial)})


@pytest.mark.torch
def test_resuming_and_pruning_checkpoints_leaves_files_of_a_person(tmp_path):
    registry = endless()
    run(config(tmp_path, "pytorch", max_global_steps=2), registry)
    trial = trial_dir(tmp_path, "pytorch")
    files = seed(trial, trial / "checkpoint_2", trial / "checkpoint_7", trial / "checkpoint_best")
    for steps in (3, 4, 5):
        run(config(tmp_path, "pytorch", max_global_steps=steps, resume_last_run=True), registry)
        (trial / "trial.json").unlink()
    assert_intact(files)
    assert not (trial / "checkpoint_3").exists()


def test_the_commands_of_scoring_leave_everything_else_alone(tmp_path):
    logs, results, merged = tmp_path / "logs", tmp_path / "results", tmp_path / "merged"
    files = seed(logs, results, merged)
    simulated = ["--rules=mini_qualification", "--submissions=2"]
    simulate.main([f"--output_dir={logs}", *simulated])
    written = files_of(logs)
    with pytest.raises(SystemExit):
        simulate.main([f"--output_dir={logs}", *simulated, "--seed=1"])
    assert files_of(logs) == written
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report"]
    for _ in range(2):
        assert score([f"--submission_directory={logs}", f"--output_dir={results}", *quick]) == 0
    sources = [str(path) for path in sorted(logs.iterdir()) if path.is_dir()]
    seed(merged)
    merge.main([*sources, f"--output_dir={merged}"])
    assert_intact(files)
    assert files_of(logs) == written


def test_the_tables_of_target_setting_leave_everything_else_alone(tmp_path):
    shutil.copytree(ROOT / "docs" / "target_setting", tmp_path / "target_setting")
    shutil.copy(ROOT / "docs" / "target_setting.md", tmp_path)
    before = files_of(tmp_path) | seed(tmp_path, tmp_path / "target_setting")
    assert target_setting([f"--write_tables={tmp_path / 'target_setting'}"]) == 0
    assert_intact({path: content for path, content in before.items() if path.name != "target_setting.md"})


def test_folders_are_removed_in_one_place():
    """Whoever removes a folder by another way than `algoperf.ownership` goes around the rule."""
    removing = {"rmtree", "removedirs"}
    found = []
    for folder in ("algoperf", "workloads", "scoring", "reference_algorithms"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            found += [path.name for node in nodes if isinstance(node, ast.Attribute) and node.attr in removing]
    assert found == []
