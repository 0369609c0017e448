"""Log-mel features of raw audio, and SpecAugment.

Shapes: B utterances, L samples, T frames, 80 mel bins.
"""

import jax
import jax.numpy as jnp

from workloads.common.librispeech import features
from workloads.common.librispeech.definition import SpecAugment

_HOP = features.HOP_SAMPLES


def log_mel(audio: jax.Array, paddings: jax.Array, statistics: str) -> tuple[jax.Array, jax.Array]:
    """Returns normalised features [B, T, 80] and their paddings [B, T].

    Features of padded frames are those of silence, not zero; a frame is real if one of its samples is.

    Args:
      audio: [B, L] samples in the range of int16.
      paddings: [B, L], 1 where there is no sample.
      statistics: name of the statistics that normalise the bins.
    """
    signal = jnp.where(paddings > 0, 0.0, audio) * features.SAMPLE_SCALE
    frames = _frames(signal, features.WINDOW_SAMPLES)
    previous = jnp.concatenate([frames[..., :1], frames[..., :-1]], axis=-1)
    windowed = (frames - features.PRE_EMPHASIS * previous) * features.hann_window().astype("float32")
    spectrum = jnp.fft.rfft(windowed, features.FFT_SAMPLES)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = jnp.dot(power, features.mel_matrix().astype("float32"), precision=jax.lax.Precision.HIGHEST)
    mean, stddev = (array.astype("float32") for array in features.statistics(statistics))
    normalised = (jnp.log(jnp.maximum(mel, features.LOG_FLOOR)) - mean) / stddev
    return normalised, _frames(paddings, features.FRAME_SAMPLES, fill=1.0).min(-1)


def _frames(signal: jax.Array, size: int, fill: float = 0.0) -> jax.Array:
    """Windows [B, T, size] of `signal` [B, L], `_HOP` apart, put together from slices: a gather would be slower."""
    num_frames = features.num_frames(signal.shape[1])
    num_blocks = -(-size // _HOP)
    needed = (num_frames + num_blocks - 1) * _HOP
    padded = jnp.pad(signal, ((0, 0), (0, max(0, needed - signal.shape[1]))), constant_values=fill)
    blocks = padded[:, :needed].reshape(len(signal), -1, _HOP)
    pieces = [blocks[:, number : number + num_frames] for number in range(num_blocks)]
    return jnp.concatenate(pieces, axis=-1)[..., :size]


def spec_augment(inputs: jax.Array, paddings: jax.Array, config: SpecAugment, rng: jax.Array) -> jax.Array:
    """Sets random stretches of frames and of bins to 0, the mean of a bin; each example has its own.

    Args:
      inputs: features [B, T, 80].
      paddings: [B, T]; masks of time lie in the real frames, which come first.
    """
    time_rng, frequency_rng = jax.random.split(rng)
    num_bins = inputs.shape[-1]
    real = (1 - paddings).sum(1)
    time_masked = _stretches(
        time_rng, inputs.shape[1], real, config.max_time_ratio * real, config.max_time_ratio * real, config.time_masks
    )
    bins = jnp.full_like(real, num_bins)
    widths = jnp.full_like(real, config.max_frequency_bins)
    frequency_masked = _stretches(frequency_rng, num_bins, bins, widths, bins, config.frequency_masks)
    return jnp.where(time_masked[:, :, None] | frequency_masked[:, None, :], 0.0, inputs)


def _stretches(
    rng: jax.Array, size: int, lengths: jax.Array, scales: jax.Array, limits: jax.Array, count: int
) -> jax.Array:
    """Whether each of `size` positions is in one of `count` random stretches: bool [B, size].

    A stretch has min(floor(u * scale), max(floor(limit), 1)) positions within the first `lengths` [B].
    """
    draws = jax.random.uniform(rng, (2, len(lengths), count))
    widths = jnp.minimum(jnp.floor(draws[0] * scales[:, None]), jnp.maximum(jnp.floor(limits), 1)[:, None])
    starts = jnp.floor(draws[1] * (lengths[:, None] - widths + 1))
    positions = jnp.arange(size, dtype=starts.dtype)[None, None]
    inside = (positions >= starts[..., None]) & (positions < (starts + widths)[..., None])
    return inside.any(1)
