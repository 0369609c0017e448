"""The double-precision features: published check values and laws."""

import numpy as np
import pytest
from scipy.signal import get_window

from workloads.common.librispeech import feature_statistics, features


def tone(num_samples, frequency_hz=440.0):
    return 1_000 * np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / features.SAMPLE_RATE)[None]


def test_mel_matrix_has_the_published_numbers():
    matrix = features.mel_matrix()
    assert matrix.shape == (257, 80)
    assert (matrix > 0).sum() == 470
    assert matrix.sum() == pytest.approx(234.9484, abs=1e-4)
    taps = (matrix > 0).sum(0)
    assert (taps.min(), taps.max()) == (1, 15)
    assert np.flatnonzero(matrix.sum(1))[[0, -1]].tolist() == [5, 243]
    assert matrix.argmax(0)[[0, 39, 79]].tolist() == [5, 60, 236]


def test_window_is_the_periodic_hann_window():
    np.testing.assert_allclose(features.hann_window(), get_window("hann", 400), atol=1e-12)


def test_a_tone_gives_the_published_values():
    audio = tone(16_000)
    frame = features.log_mel(audio, np.zeros_like(audio))[0, 0]
    np.testing.assert_allclose(frame[[8, 9, 10, 11]], [-6.0099, -2.5799, -1.4589, -1.6989], atol=1e-4)
    np.testing.assert_allclose(frame[[0, 5, 20, 79]], np.log(1e-5))


@pytest.mark.parametrize(("num_samples", "frames"), [(320_000, 1_998), (401, 1), (560, 1), (561, 2)])
def test_number_of_frames(num_samples, frames):
    assert features.num_frames(num_samples) == frames


def test_padded_samples_count_as_silence():
    audio, paddings = tone(4_000), np.zeros((1, 4_000))
    paddings[:, 2_000:] = 1
    silent = np.where(paddings > 0, 0.0, audio)
    np.testing.assert_array_equal(features.log_mel(audio, paddings), features.log_mel(silent, np.zeros_like(paddings)))


def test_published_statistics_are_kept():
    mean, stddev = features.statistics("librispeech")
    published = {0: (-7.605, 3.435), 1: (-7.121, 3.596), 24: (-7.303, 3.408), 48: (-5.821, 3.597), 79: (-6.942, 3.430)}
    for number, expected in published.items():
        assert (mean[number], stddev[number]) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(KeyError, match="librispeech_mini"):
        features.statistics("unknown")


def test_moments_of_blocks_are_those_of_the_whole(tmp_path):
    frames = np.random.default_rng(0).normal(3, 2, (57, 80))
    moments = feature_statistics.RunningMoments()
    for block in np.split(frames, [1, 1, 20]):
        moments.add(block)
    np.testing.assert_allclose(moments.mean, frames.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.stddev, frames.std(0), rtol=1e-12)
    feature_statistics.write("new", moments, "a test", tmp_path / "statistics.json")
    assert "a test" in (tmp_path / "statistics.json").read_text()
