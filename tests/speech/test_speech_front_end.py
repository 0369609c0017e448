"""Both frameworks' front ends against the double-precision one, and SpecAugment's laws."""

import numpy as np
import pytest

from workloads.common.librispeech import features
from workloads.common.librispeech.definition import SpecAugment


def jax_log_mel(audio, paddings):
    from workloads.common.jax.speech_front_end import log_mel

    return [np.asarray(array) for array in log_mel(audio, paddings, "librispeech")]


def torch_log_mel(audio, paddings):
    import torch

    from workloads.common.torch.speech_front_end import LogMel

    return [tensor.numpy() for tensor in LogMel("librispeech")(torch.from_numpy(audio), torch.from_numpy(paddings))]


def jax_augment(inputs, paddings, config, seed):
    import jax

    from workloads.common.jax.speech_front_end import spec_augment

    return np.asarray(jax.jit(lambda rng: spec_augment(inputs, paddings, config, rng))(jax.random.PRNGKey(seed)))


def torch_augment(inputs, paddings, config, seed):
    import torch

    from workloads.common.torch.speech_front_end import spec_augment

    torch.manual_seed(seed)
    return spec_augment(torch.from_numpy(inputs), torch.from_numpy(paddings), config).numpy()


FRONT_ENDS = [
    pytest.param(jax_log_mel, marks=pytest.mark.jax, id="jax"),
    pytest.param(torch_log_mel, marks=pytest.mark.torch, id="torch"),
]
AUGMENTATIONS = [
    pytest.param(jax_augment, marks=pytest.mark.jax, id="jax"),
    pytest.param(torch_augment, marks=pytest.mark.torch, id="torch"),
]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@pytest.mark.parametrize("num_samples", [4_000, 4_001, 4_161])
def test_features_equal_the_reference(front_end, num_samples):
    rng = np.random.default_rng(num_samples)
    time = np.arange(num_samples) / features.SAMPLE_RATE
    audio = np.stack(
        [rng.normal(0, 900, num_samples), 2e4 * np.sin(2 * np.pi * 3_000 * time), np.zeros(num_samples)]
    ).astype(np.float32)
    lengths = np.array([num_samples, 1_234, 0])
    paddings = (np.arange(num_samples) >= lengths[:, None]).astype(np.float32)
    mean, stddev = features.statistics("librispeech")
    found, _ = front_end(audio, paddings)
    np.testing.assert_allclose(found, (features.log_mel(audio, paddings) - mean) / stddev, atol=2e-3)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_frame_is_real_if_one_sample_is(front_end):
    lengths, real_frames = np.array([0, 1, 160, 161, 1_000, 4_000]), np.array([0, 1, 1, 2, 7, 23])
    paddings = (np.arange(4_000) >= lengths[:, None]).astype(np.float32)
    _, found = front_end(np.ones((6, 4_000), np.float32), paddings)
    np.testing.assert_array_equal(found, np.arange(23) >= real_frames[:, None])


def masked_runs(rows):
    """Lengths of the runs of True in each row."""
    runs = []
    for row in rows:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        runs.append((edges[1::2] - edges[::2]).tolist())
    return runs


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_masks_of_time_lie_in_the_real_frames_and_have_their_widths(augment):
    lengths = np.array([200, 100, 10, 0] * 50)
    paddings = (np.arange(200) >= lengths[:, None]).astype(np.float32)
    inputs = np.ones((200, 200, 80), np.float32)
    config = SpecAugment(time_masks=1, frequency_masks=0)
    masked = augment(inputs, paddings, config, 0) == 0
    assert (masked == masked[:, :, :1]).all()
    masked = masked[:, :, 0]
    assert not masked[paddings > 0].any()
    for length, widths in zip(lengths, masked_runs(masked), strict=True):
        assert len(widths) <= 1
        assert max(widths, default=0) <= 0.05 * length
    widths = [sum(runs) for length, runs in zip(lengths, masked_runs(masked), strict=True) if length == 200]
    assert set(widths) >= set(range(10))  # floor(u * 10), so 0 to 9


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_masks_of_frequency_cover_all_time_and_have_their_widths(augment):
    inputs = np.ones((300, 20, 80), np.float32)
    paddings = np.zeros((300, 20), np.float32)
    masked = augment(inputs, paddings, SpecAugment(time_masks=0, frequency_masks=1), 1) == 0
    assert (masked == masked[:, :1]).all()
    widths = [sum(runs) for runs in masked_runs(masked[:, 0])]
    assert min(widths) == 0
    assert 24 <= max(widths) <= 26
    assert 11 < np.mean(widths) < 15
    assert masked.any(axis=(0, 1)).all()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_examples_and_seeds_have_their_own_masks(augment):
    inputs, paddings = np.ones((2, 100, 80), np.float32), np.zeros((2, 100), np.float32)
    first, again, other = (augment(inputs, paddings, SpecAugment(), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()
    assert set(np.unique(first)) == {0, 1}
