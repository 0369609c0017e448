"""Log-mel features of raw audio, and SpecAugment.

Shapes: B utterances, L samples, T frames, 80 mel bins.
"""

import torch
from torch import Tensor, nn

from workloads.common.librispeech import features
from workloads.common.librispeech.definition import SpecAugment


class LogMel(nn.Module):
    """Features without parameters.

    Args:
      statistics: name of the statistics that normalise the bins.
    """

    window: Tensor
    mel_matrix: Tensor
    mean: Tensor
    stddev: Tensor

    def __init__(self, statistics: str) -> None:
        super().__init__()
        mean, stddev = features.statistics(statistics)
        constants = {"window": features.hann_window(), "mel_matrix": features.mel_matrix()}
        for name, array in (constants | {"mean": mean, "stddev": stddev}).items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(self, audio: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
        """Returns normalised features [B, T, 80] and their paddings [B, T].

        Features of padded frames are those of silence, not zero; a frame is real if one of its samples is.

        Args:
          audio: [B, L] samples in the range of int16.
          paddings: [B, L], 1 where there is no sample.
        """
        signal = torch.where(paddings > 0, 0.0, audio) * features.SAMPLE_SCALE
        hop = features.HOP_SAMPLES
        num_frames = features.num_frames(audio.shape[1])
        frames = signal.unfold(1, features.WINDOW_SAMPLES, hop)[:, :num_frames]
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        windowed = (frames - features.PRE_EMPHASIS * previous) * self.window
        power = torch.view_as_real(torch.fft.rfft(windowed, features.FFT_SAMPLES)).square().sum(-1)
        log_mel = (power @ self.mel_matrix).clamp(min=features.LOG_FLOOR).log()
        return (log_mel - self.mean) / self.stddev, paddings.unfold(1, features.FRAME_SAMPLES, hop).amin(-1)


def spec_augment(inputs: Tensor, paddings: Tensor, config: SpecAugment) -> Tensor:
    """Sets random stretches of frames and of bins to 0, the mean of a bin; each example has its own.

    Draws from PyTorch's global generator.

    Args:
      inputs: features [B, T, 80].
      paddings: [B, T]; masks of time lie in the real frames, which come first.
    """
    num_bins = inputs.shape[-1]
    real = (1 - paddings).sum(1)
    width = config.max_time_ratio * real
    time_masked = _stretches(inputs.shape[1], real, width, width, config.time_masks)
    bins = torch.full_like(real, num_bins)
    widths = torch.full_like(real, config.max_frequency_bins)
    frequency_masked = _stretches(num_bins, bins, widths, bins, config.frequency_masks)
    return inputs.masked_fill(time_masked[:, :, None] | frequency_masked[:, None, :], 0.0)


def _stretches(size: int, lengths: Tensor, scales: Tensor, limits: Tensor, count: int) -> Tensor:
    """Whether each of `size` positions is in one of `count` random stretches: bool [B, size].

    A stretch has min(floor(u * scale), max(floor(limit), 1)) positions within the first `lengths` [B].
    """
    draws = torch.rand(2, len(lengths), count, device=lengths.device)
    widths = torch.minimum((draws[0] * scales[:, None]).floor(), limits.floor().clamp(min=1)[:, None])
    starts = (draws[1] * (lengths[:, None] - widths + 1)).floor()
    positions = torch.arange(size, device=lengths.device, dtype=starts.dtype)[None, None]
    inside = (positions >= starts[..., None]) & (positions < (starts + widths)[..., None])
    return inside.any(1)
