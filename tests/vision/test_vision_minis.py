"""The generated data of the minis: repeatable, balanced, real physics, and not to be solved by memorising."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np

from algoperf.data import BatchRequest
from algoperf.definition import Split, SplitSizes
from algoperf.registry import REGISTRY
from workloads.common.imagenet import shapes
from workloads.common.imagenet.definition import MINI_GENERATOR
from workloads.common.imagenet.prepare import prepare as prepare_images
from workloads.common.imagenet.source import open_split
from workloads.fastmri.phantoms import simulate


def test_images_repeat_and_splits_differ() -> None:
    images, labels = shapes.render(MINI_GENERATOR, Split.TRAIN, 0, 32)
    again, labels_again = shapes.render(MINI_GENERATOR, Split.TRAIN, 0, 32)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)
    for other in (
        shapes.render(MINI_GENERATOR, Split.VALIDATION, 0, 32),
        shapes.render(MINI_GENERATOR, Split.TRAIN, 32, 32),
    ):
        assert not (other[0] == images).all((1, 2, 3)).any()


def test_classes_are_equally_frequent_and_some_training_labels_wrong() -> None:
    num_classes = MINI_GENERATOR.outlines * MINI_GENERATOR.textures
    _, labels = shapes.render(MINI_GENERATOR, Split.TRAIN, 0, 2048)
    counts = np.bincount(labels, minlength=num_classes)
    assert np.abs(counts - 2048 / num_classes).max() < 6 * np.sqrt(2048 / num_classes)
    wrong = (shapes._with_noise(MINI_GENERATOR, labels, 0) != labels).mean()
    expected = MINI_GENERATOR.label_noise * (1 - 1 / num_classes)
    assert abs(wrong - expected) < 0.03


def test_image_mini_goes_through_the_real_pipeline(tmp_path: Path) -> None:
    """The decoded store of the mini gives what the JPEG store of the real dataset would give."""
    sizes = SplitSizes(train=40, eval_train=10, validation=16, test=16)
    mini = dataclasses.replace(REGISTRY.get("imagenet_resnet_mini"), splits=sizes)
    prepare_images(mini, tmp_path, source_dir=None, num_workers=1, report=lambda message: None)
    real_data = dataclasses.replace(mini.data, decoded=False, generator=None)
    real = dataclasses.replace(mini, dataset="like_real", data=real_data)
    raw = tmp_path / "prepared" / f"{mini.dataset}_raw"
    prepare_images(real, tmp_path, source_dir=raw, num_workers=1, report=lambda message: None)
    for split, seed in ((Split.TRAIN, 3), (Split.TEST, None)):
        indices = np.arange(12)
        request = BatchRequest(indices=indices, batch_size=12, seed=seed, epochs=np.zeros_like(indices))
        batches = [open_split(definition, split, tmp_path).read(request) for definition in (mini, real)]
        np.testing.assert_array_equal(batches[0]["targets"], batches[1]["targets"])
        np.testing.assert_allclose(batches[0]["inputs"], batches[1]["inputs"], atol=1e-4)


def test_phantoms_are_complex_noisy_and_reconstruct_from_full_kspace() -> None:
    data = REGISTRY.get("fastmri_mini").data
    kspace, reconstruction = simulate(np.random.default_rng(0), data)
    size = data.image_size
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    top, left = (kspace.shape[1] - size) // 2, (kspace.shape[2] - size) // 2
    cropped = image[:, top : top + size, left : left + size]
    np.testing.assert_allclose(np.abs(cropped), reconstruction, rtol=1e-3, atol=1e-9)
    assert np.abs(cropped.imag).mean() > 0.2 * np.abs(cropped.real).mean()
    energy = np.abs(kspace).mean(0)
    rows, columns = energy.shape
    centre = energy[rows // 2 - 3 : rows // 2 + 3, columns // 2 - 3 : columns // 2 + 3]
    assert centre.mean() > 20 * energy[:5].mean()


def test_fastmri_mini_writes_what_fastmri_writes(tmp_path: Path) -> None:
    from workloads.fastmri.phantoms import write_raw

    sizes = SplitSizes(train=16, eval_train=8, validation=8, test=8)
    mini = dataclasses.replace(REGISTRY.get("fastmri_mini"), splits=sizes)
    write_raw(mini, tmp_path, ("knee_singlecoil_train", "knee_singlecoil_val"), lambda message: None)
    files = sorted(tmp_path.glob("*/*.h5"))
    assert len(files) == 4
    with h5py.File(files[0]) as file:
        assert file["kspace"].dtype == np.complex64
        assert file["reconstruction_esc"].dtype == np.float32
        assert file["kspace"].shape[0] == file["reconstruction_esc"].shape[0]
        assert file.attrs["max"] == np.max(file["reconstruction_esc"])
