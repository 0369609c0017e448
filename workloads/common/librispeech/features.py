"""Log-mel features: constants, and a double-precision implementation that the models' front ends must agree with.

Shapes: B utterances, L samples, T frames, 80 mel bins.
"""

import functools
import json
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 401  # 25 ms, and the sample before them for the pre-emphasis
HOP_SAMPLES = 160
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
NUM_BINS = 80
PRE_EMPHASIS = 0.97
SAMPLE_SCALE = 2.0**-15
LOG_FLOOR = 1e-5
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7_600.0

STATISTICS_FILE = Path(__file__).with_name("feature_statistics.json")


def num_frames(num_samples: int) -> int:
    """Frames of a batch of `num_samples` samples; nothing is padded at the end."""
    return (num_samples - FRAME_SAMPLES) // HOP_SAMPLES + 1


def hann_window() -> np.ndarray:
    """Periodic Hann window, float64 [400]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)


def mel_matrix() -> np.ndarray:
    """Power of each FFT bin in each mel bin, float64 [257, 80].

    Triangles are linear in mel (HTK: 1127 ln(1 + f / 700)) and have peak 1; the DC row is zero.
    """
    edges = np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), NUM_BINS + 2)
    spectrum = _mel(np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE / FFT_SAMPLES)[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (spectrum - lower) / (centre - lower), (upper - spectrum) / (upper - centre)
    matrix: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    matrix[0] = 0.0
    return matrix


def _mel(frequency_hz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(frequency_hz) / 700.0)


def log_mel(audio: np.ndarray, paddings: np.ndarray) -> np.ndarray:
    """Unnormalised features, float64 [B, T, 80].

    Args:
      audio: [B, L] samples in the range of int16.
      paddings: [B, L], 1 where there is no sample.
    """
    signal = np.where(paddings > 0, 0.0, audio.astype(np.float64)) * SAMPLE_SCALE
    starts = np.arange(num_frames(audio.shape[1])) * HOP_SAMPLES
    frames = signal[:, starts[:, None] + np.arange(WINDOW_SAMPLES)]
    emphasised = frames.copy()
    emphasised[..., 1:] -= PRE_EMPHASIS * frames[..., :-1]
    emphasised[..., 0] *= 1 - PRE_EMPHASIS
    power = np.abs(np.fft.rfft(emphasised * hann_window(), FFT_SAMPLES)) ** 2
    features: np.ndarray = np.log(np.maximum(power @ mel_matrix(), LOG_FLOOR))
    return features


@functools.cache
def statistics(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each bin, float64 [80] each, that the features of `name` are normalised with.

    Raises:
      KeyError: the data file has no statistics of that name.
    """
    known = json.loads(STATISTICS_FILE.read_text())
    if name not in known:
        raise KeyError(f"no feature statistics {name!r} in {STATISTICS_FILE}; it has {', '.join(known)}")
    mean, stddev = (np.array(known[name][key], np.float64) for key in ("mean", "stddev"))
    if mean.shape != (NUM_BINS,) or stddev.shape != (NUM_BINS,) or not (stddev > 0).all():
        raise ValueError(f"{STATISTICS_FILE}: {name!r} must have {NUM_BINS} means and positive standard deviations")
    return mean, stddev
