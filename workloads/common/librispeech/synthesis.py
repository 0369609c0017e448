"""Formant synthesis: letters to int16 audio, many utterances at a time.

A pulse train and noise are shaped frame by frame by the resonances of each phoneme. All utterances of a call lie one
after the other on one time line, so that everything is computed on long vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000
HOP = 128  # 8 ms, the unit of all durations
_WINDOW = 2 * HOP
_BANDWIDTHS_HZ = (80.0, 110.0, 170.0)
_GAINS = (1.0, 0.5, 0.3)
_SPEECH_LEVEL = 900.0  # root mean square of the speech, of 32,767

# Per segment: formants 1 to 3 (Hz), amplitude of the voice, amplitude, centre and width (Hz) of the noise, frames.
SEGMENTS = {
    "A": [(730, 1090, 2440, 1.0, 0.0, 3000, 2000, 9)],
    "E": [(530, 1840, 2480, 1.0, 0.0, 3000, 2000, 9)],
    "I": [(270, 2290, 3010, 1.0, 0.0, 3000, 2000, 9)],
    "O": [(570, 840, 2410, 1.0, 0.0, 3000, 2000, 9)],
    "U": [(300, 870, 2240, 1.0, 0.0, 3000, 2000, 9)],
    "L": [(360, 1300, 2800, 0.6, 0.0, 3000, 2000, 6)],
    "R": [(330, 1060, 1450, 0.6, 0.0, 3000, 2000, 6)],
    "M": [(250, 1000, 2200, 0.4, 0.0, 3000, 2000, 6)],
    "N": [(250, 1550, 2600, 0.4, 0.0, 3000, 2000, 6)],
    "S": [(300, 1700, 2600, 0.0, 0.30, 6200, 1000, 8)],
    "Z": [(280, 1700, 2600, 0.3, 0.18, 5800, 1000, 7)],
    "F": [(300, 1100, 2400, 0.0, 0.14, 3500, 3500, 7)],
    "V": [(280, 1100, 2300, 0.4, 0.07, 3500, 3500, 6)],
    "P": [(300, 900, 2300, 0.0, 0.0, 1000, 900, 4), (400, 900, 2300, 0.0, 0.30, 1000, 900, 3)],
    "T": [(300, 1800, 2600, 0.0, 0.0, 4500, 1200, 4), (400, 1800, 2600, 0.0, 0.30, 4500, 1200, 3)],
    "K": [(300, 2100, 2500, 0.0, 0.0, 2200, 500, 4), (400, 2100, 2500, 0.0, 0.30, 2200, 500, 3)],
    "B": [(200, 900, 2300, 0.15, 0.0, 1000, 900, 4), (350, 900, 2300, 0.5, 0.12, 1000, 900, 2)],
    "D": [(200, 1800, 2600, 0.15, 0.0, 4500, 1200, 4), (350, 1800, 2600, 0.5, 0.12, 4500, 1200, 2)],
    "G": [(200, 2100, 2500, 0.15, 0.0, 2200, 500, 4), (350, 2100, 2500, 0.5, 0.12, 2200, 500, 2)],
    " ": [(500, 1500, 2500, 0.0, 0.0, 3000, 2000, 4)],
    "'": [],
}
_EDGE_FRAMES = (6, 14)  # silence before and after an utterance, uniform


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker.

    Attributes:
      pitch_hz: mean fundamental frequency.
      formant_scale: factor on all formants; a shorter vocal tract has higher ones.
      tempo: factor on the speed.
      tilt: strength of the high frequencies of the voice, between 0.6 (bright) and 1.4 (dull).
    """

    pitch_hz: float
    formant_scale: float
    tempo: float
    tilt: float


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draws a speaker; pitch and formants go together, as they do between large and small speakers."""
    size = rng.uniform(-1, 1)
    return Voice(
        pitch_hz=150 * 2 ** (0.6 * size + rng.uniform(-0.2, 0.2)),
        formant_scale=1.0 + 0.13 * size + rng.uniform(-0.03, 0.03),
        tempo=rng.uniform(0.85, 1.25),
        tilt=rng.uniform(0.7, 1.3),
    )


def synthesise(
    sentences: Sequence[str],
    voices: Sequence[Voice],
    noise_db: np.ndarray,
    max_samples: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Returns the audio, int16 [samples], of each sentence.

    Args:
      sentences: of letters, spaces and apostrophes.
      voices: speaker of each sentence.
      noise_db: signal-to-noise ratio of each, in decibels.
      max_samples: longer utterances are spoken faster.
      rng: draws durations, pitch contours and noise.

    Raises:
      ValueError: a sentence has a character that has no sound.
    """
    tables = [
        _segments(sentence, voice, max_samples // HOP, rng) for sentence, voice in zip(sentences, voices, strict=True)
    ]
    segments = np.concatenate([table for table, _ in tables])
    durations = np.concatenate([frames for _, frames in tables])
    tracks = _smoothed(np.repeat(segments, durations, axis=0).astype(np.float32))
    lengths = np.array([int(frames.sum()) for _, frames in tables])
    pitch = np.concatenate([_pitch(voice, length, rng) for voice, length in zip(voices, lengths, strict=True)])
    tilt = np.repeat(np.array([voice.tilt for voice in voices], np.float32), lengths)

    voice = _shaped(_pulses(pitch), _voice_envelope(tracks, tilt) * tracks[:, 3:4])
    hiss = _shaped(rng.standard_normal(len(pitch) * HOP, np.float32), _noise_envelope(tracks) * tracks[:, 4:5])
    speech = np.split(voice + hiss, np.cumsum(lengths * HOP)[:-1])
    return [_recorded(signal, ratio, rng) for signal, ratio in zip(speech, noise_db, strict=True)]


def _segments(sentence: str, voice: Voice, max_frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Parameters [segments, 7] and durations in frames [segments] of one utterance, with jitter and silent edges."""
    unknown = set(sentence) - SEGMENTS.keys()
    if unknown:
        raise ValueError(f"no sound for {sorted(unknown)} in {sentence!r}")
    rows = [segment for letter in f" {sentence} " for segment in SEGMENTS[letter]]
    table = np.array(rows, np.float64)
    durations = table[:, 7] / voice.tempo * rng.uniform(0.75, 1.25, len(table))
    durations[[0, -1]] = rng.uniform(*_EDGE_FRAMES, 2)
    durations *= min(1.0, (max_frames - len(table)) / durations.sum())
    table[:, :3] *= voice.formant_scale * rng.uniform(0.95, 1.05, (len(table), 3))
    return table[:, :7], np.maximum(1, np.round(durations)).astype(np.int64)


def _smoothed(tracks: np.ndarray) -> np.ndarray:
    """Moving average over three frames: neighbouring sounds run into each other."""
    padded = np.concatenate([tracks[:1], tracks, tracks[-1:]])
    means: np.ndarray = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return means


def _pitch(voice: Voice, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Fundamental frequency [frames]: a fall over the utterance and a slow wave."""
    time = np.arange(num_frames) / num_frames
    wave = rng.uniform(0, 0.1) * np.sin(2 * np.pi * (rng.uniform(1, 3) * time + rng.uniform()))
    return voice.pitch_hz * (1.12 - 0.24 * time + wave)


def _pulses(pitch: np.ndarray) -> np.ndarray:
    """A pulse for every period, float32 [frames * HOP]; all periods have the same power."""
    per_sample = np.repeat(pitch / SAMPLE_RATE, HOP)
    periods = np.floor(np.cumsum(per_sample))
    pulses = np.diff(periods, prepend=0.0) > 0
    return np.where(pulses, np.sqrt(1 / per_sample), 0.0).astype(np.float32)


def _voice_envelope(tracks: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Magnitudes [frames, bins]: three resonances, weaker towards high frequencies."""
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE).astype(np.float32)
    envelope = np.float32(0.02)
    for formant, (bandwidth, gain) in enumerate(zip(_BANDWIDTHS_HZ, _GAINS, strict=True)):
        distance = (frequencies - tracks[:, formant : formant + 1]) / np.float32(bandwidth / 2)
        envelope = envelope + np.float32(gain) ** tilt[:, None] / np.sqrt(1 + distance**2)
    return envelope * (frequencies < 7_000)


def _noise_envelope(tracks: np.ndarray) -> np.ndarray:
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE).astype(np.float32)
    envelope: np.ndarray = np.exp(-0.5 * ((frequencies - tracks[:, 5:6]) / tracks[:, 6:7]) ** 2)
    return envelope


def _shaped(source: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Filters `source` [frames * HOP] by the magnitudes of each frame [frames, bins] (overlapping windows)."""
    num_frames = len(envelope)
    window = np.float32(0.5) - np.float32(0.5) * np.cos(2 * np.pi * np.arange(_WINDOW, dtype=np.float32) / _WINDOW)
    padded = np.concatenate([source, np.zeros(HOP, np.float32)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:num_frames] * window
    shaped = np.fft.irfft(np.fft.rfft(frames) * envelope, _WINDOW).astype(np.float32)
    output = np.zeros((num_frames + 1, HOP), np.float32)
    output[:-1] += shaped[:, :HOP]
    output[1:] += shaped[:, HOP:]
    return output[:-1].ravel()


def _recorded(speech: np.ndarray, noise_db: float, rng: np.random.Generator) -> np.ndarray:
    """Sets the level, adds noise and quantises."""
    level = _SPEECH_LEVEL * 2 ** rng.uniform(-1, 1)
    speech = speech * (level / max(float(np.sqrt(np.mean(speech**2))), 1e-9))
    noise = rng.standard_normal(len(speech), np.float32) * (level * 10 ** (-noise_db / 20))
    return np.clip(np.round(speech + noise), -32_768, 32_767).astype(np.int16)
