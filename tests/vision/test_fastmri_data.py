import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from algoperf.data import BatchRequest, StoreError
from algoperf.definition import Split, SplitSizes
from workloads.fastmri.data import fake_batch, open_split
from workloads.fastmri.definition import BASE, FastMRIData
from workloads.fastmri.kspace import centre_columns, column_masks, evaluation_columns, normalised
from workloads.fastmri.prepare import RawVolumeError, prepare, volume_files

# Columns j whose first TensorFlow stateless uniform number of seed (0, 0) is small, for every width from 300 on.
EVALUATION_COLUMNS = """10 11 19 20 25 28 30 32 38 49 53 55 63 66 69 76 82 86 91 105 113 118 122 125 135 140 153 156 162
164 172 179 188 190 197 202 203 208 219 226 228 232 233 237 242 245 249 250 253 266 274 283 286 294 296 301 302 305 309
312 320 321 322 326 330 333 346 351 352 358 361 363 366 372 380 385 386 387 390 392 393 394"""
SIZE = 20


@pytest.mark.parametrize(
    ("width", "first", "last"),
    [
        (320, 148, 172),
        (322, 149, 173),
        (350, 161, 188),
        (356, 164, 191),
        (368, 170, 198),
        (372, 172, 200),
        (386, 178, 207),
        (388, 179, 209),
        (400, 184, 215),
    ],
)
def test_masks_are_those_of_the_reference(width: int, first: int, last: int) -> None:
    data = FastMRIData()
    np.testing.assert_array_equal(np.flatnonzero(centre_columns(width, data)), np.arange(first, last + 1))
    random = {int(column) for column in EVALUATION_COLUMNS.split() if int(column) < width}
    expected = random | set(range(first, last + 1))
    found = set(evaluation_columns(width, data).tolist())
    assert found - {273} == expected - {273}  # column 273 depends on the width
    if width in (368, 372):
        assert len(found) == 97


def test_training_masks_differ_and_keep_a_quarter() -> None:
    data = FastMRIData()
    masks = column_masks(np.stack([np.arange(500), np.arange(500)], 1), 368, data)
    assert masks[:, centre_columns(368, data)].all()
    assert abs(masks.mean() - 0.25) < 0.005
    assert len(np.unique(masks, axis=0)) == 500


@pytest.fixture
def definition():
    return dataclasses.replace(
        BASE,
        splits=SplitSizes(train=6, eval_train=3, validation=4, test=2),
        data=FastMRIData(image_size=SIZE, validation_volumes=2),
    )


def write_volumes(root: Path) -> Path:
    """Three training volumes of two slices and three held-out ones, of different widths; the last has no `max`."""
    rng = np.random.default_rng(0)
    for folder, number in [("train", 0), ("train", 1), ("train", 2), ("val", 3), ("val", 4), ("val", 5)]:
        path = root / f"knee_singlecoil_{folder}" / f"file{1000 - number}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (2, 2 * SIZE, 26 + 4 * number)
        with h5py.File(path, "w") as file:
            file["kspace"] = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64) * 1e-5
            file["reconstruction_esc"] = rng.random((2, SIZE, SIZE)).astype(np.float32) * 1e-5
            if number != 5:
                file.attrs["max"] = 1e-5 * (number + 1)
    return root


def prepared(definition, source_dir: Path, data_dir: Path) -> None:
    prepare(definition, data_dir, source_dir=source_dir, num_workers=2, report=lambda message: None)


def reference_example(path: Path, slice_number: int, mask: np.ndarray) -> dict[str, np.ndarray]:
    """The processing of one slice as it is defined, in float64 and with whole two-dimensional transforms."""
    with h5py.File(path) as file:
        kspace = file["kspace"][slice_number].astype(np.complex128) * mask
        target = file["reconstruction_esc"][slice_number].astype(np.float64)
        maximum = file.attrs.get("max", 0.0)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace), norm="ortho"))
    top, left = ((length - SIZE) // 2 for length in image.shape)
    image = np.abs(image[top : top + SIZE, left : left + SIZE])
    mean, std = image.mean(), image.std()
    inputs, targets = (np.clip((x - mean) / std, -6, 6) for x in (image, target))
    return {"inputs": inputs, "targets": targets, "mean": mean, "std": std, "volume_max": maximum}


def assert_example(batch: dict, row: int, expected: dict) -> None:
    for leaf, value in expected.items():
        np.testing.assert_allclose(batch[leaf][row], value, rtol=2e-5, atol=2e-5 if np.ndim(value) else 1e-9)


def test_evaluation_examples_are_the_defined_ones(definition, tmp_path: Path) -> None:
    source_dir = write_volumes(tmp_path / "raw")
    prepared(definition, source_dir, tmp_path)
    files = volume_files(source_dir, definition.data)
    assert [path.name for path in files[Split.VALIDATION]] == ["file995.h5", "file996.h5"]  # sorted by name
    for split in (Split.VALIDATION, Split.TEST):
        source = open_split(definition, split, tmp_path)
        assert len(source) == definition.splits[split]
        batch = source.read(BatchRequest(indices=np.arange(len(source)), batch_size=8))
        np.testing.assert_array_equal(batch["weights"], np.arange(8) < len(source))
        for row in range(len(source)):
            path = files[split][row // 2]
            width = h5py.File(path)["kspace"].shape[2]
            mask = np.zeros(width)
            mask[evaluation_columns(width, definition.data)] = 1
            assert_example(batch, row, reference_example(path, row % 2, mask))
    assert batch["volume_max"][1] == pytest.approx(4e-5)


def test_a_training_slice_keeps_its_mask_in_every_epoch_and_other_seeds_give_other_masks(
    definition, tmp_path: Path
) -> None:
    source_dir = write_volumes(tmp_path / "raw")
    prepared(definition, source_dir, tmp_path)
    source = open_split(definition, Split.TRAIN, tmp_path)

    def read(indices: list[int], seed: int, epoch: int) -> np.ndarray:
        epochs = np.full(len(indices), epoch)
        return source.read(BatchRequest(indices=np.array(indices), batch_size=len(indices), seed=seed, epochs=epochs))

    first = read([5, 0, 3], 1, 0)
    np.testing.assert_array_equal(read([0, 5], 1, 4)["inputs"], first["inputs"][[1, 0]])
    assert (read([5, 0, 3], 2, 0)["inputs"] != first["inputs"]).any((1, 2)).all()
    path = volume_files(source_dir, definition.data)[Split.TRAIN][2]
    masks = column_masks(np.array([[1, 5]]), h5py.File(path)["kspace"].shape[2], definition.data)
    assert_example(first, 0, reference_example(path, 1, masks[0]))


def test_threads_of_large_images_change_nothing(definition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(definition, write_volumes(tmp_path / "raw"), tmp_path)
    request = BatchRequest(indices=np.array([4, 1, 5]), batch_size=3, seed=2, epochs=np.zeros(3, np.int64))
    source = open_split(definition, Split.TRAIN, tmp_path)
    alone = source.read(request)
    monkeypatch.setattr("workloads.fastmri.data._LARGE_IMAGE", 1)
    threaded = source.read(request)
    for leaf in alone:
        np.testing.assert_array_equal(threaded[leaf], alone[leaf])


def test_training_metrics_use_a_fixed_part_of_the_training_slices(definition, tmp_path: Path) -> None:
    prepared(definition, write_volumes(tmp_path / "raw"), tmp_path)
    source = open_split(definition, Split.EVAL_TRAIN, tmp_path)
    batches = [source.read(BatchRequest(indices=np.arange(3), batch_size=4)) for _ in range(2)]
    for leaf in batches[0]:
        np.testing.assert_array_equal(batches[0][leaf], batches[1][leaf])
    maxima = np.array([1, 2, 3]) * 1e-5
    assert np.isclose(batches[0]["volume_max"][:3, None], maxima).any(1).all()


def test_fake_batches_look_like_real_ones(definition, tmp_path: Path) -> None:
    prepared(definition, write_volumes(tmp_path / "raw"), tmp_path)
    real = open_split(definition, Split.TEST, tmp_path).read(BatchRequest(indices=np.arange(2), batch_size=3))
    fake = fake_batch(definition, 3, seed=0)
    assert {k: (v.shape, v.dtype) for k, v in real.items()} == {k: (v.shape, v.dtype) for k, v in fake.items()}


def test_a_constant_image_does_not_divide_by_zero() -> None:
    inputs, targets, mean, std = normalised(np.full((4, 4), 2, np.float32), np.full((4, 4), 3, np.float32), 6.0)
    assert (inputs == 0).all()
    assert (targets == 1).all()
    assert (mean, std) == (2, 1)


def damage(path: Path, how: str) -> None:
    if how == "text":
        path.write_text("no HDF5")
        return
    with h5py.File(path, "r+") as file:
        kspace, targets = file["kspace"][()], file["reconstruction_esc"][()]
        del file["kspace"]
        if how == "narrow":
            file["kspace"] = kspace[:, :, : SIZE - 1]
        elif how == "real":
            file["kspace"] = kspace.real
        elif how == "targets":
            file["kspace"] = kspace
            del file["reconstruction_esc"]
            file["reconstruction_esc"] = targets[:, 1:]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("text", r"file999\.h5 is no readable HDF5 file"),
        ("missing", r"file999\.h5 has no dataset kspace; it has reconstruction_esc"),
        ("narrow", r"file999\.h5: kspace should be complex .* got complex64 \(2, 40, 19\)"),
        ("real", r"file999\.h5: kspace should be complex .* got float32"),
        ("targets", r"file999\.h5: reconstruction_esc should have floats \(2, 20, 20\), got float32 \(2, 19, 20\)"),
    ],
)
def test_a_damaged_volume_is_named(definition, tmp_path: Path, how: str, message: str) -> None:
    source_dir = write_volumes(tmp_path / "raw")
    damage(source_dir / "knee_singlecoil_train" / "file999.h5", how)
    with pytest.raises(RawVolumeError, match=message):
        prepared(definition, source_dir, tmp_path)


def test_missing_folders_and_slices_are_named(definition, tmp_path: Path) -> None:
    source_dir = write_volumes(tmp_path / "raw")
    (source_dir / "knee_singlecoil_train" / "file998.h5").unlink()
    with pytest.raises(RawVolumeError, match="split train should have 6 slices, found 4"):
        prepared(definition, source_dir, tmp_path)
    (source_dir / "knee_singlecoil_val").rename(source_dir / "singlecoil_val")  # the name inside the archive
    assert len(volume_files(source_dir, definition.data)[Split.TEST]) == 1
    (source_dir / "singlecoil_val").rename(source_dir / "elsewhere")
    with pytest.raises(RawVolumeError, match="no folder knee_singlecoil_val under"):
        prepared(definition, source_dir, tmp_path)


def test_a_store_of_another_size_is_refused(definition, tmp_path: Path) -> None:
    prepared(definition, write_volumes(tmp_path / "raw"), tmp_path)
    other = dataclasses.replace(definition, splits=dataclasses.replace(definition.splits, test=3))
    with pytest.raises(StoreError, match=r"has 2 test slices, .* has 3"):
        open_split(other, Split.TEST, tmp_path)
