"""Beam search on the device, with caches that are never reordered (PyTorch).

Each position of each beam writes its keys and values into a slot of its own, and a hypothesis finds its past through
a table of ancestors: which beam held its prefix at each earlier position. Where hypotheses change beams, rows of that
small table move, and not the caches.

Shapes: B sentences, K beams, L positions (max_length), V vocabulary; slot number = position * K + beam.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.wmt.definition import TransformerConfig
from workloads.wmt.vocabulary import END, START

NEVER = -1e7  # a log-probability that no hypothesis reaches

# (tokens [B, K], position, seen bool [B, 1, K, (position + 1) * K]) -> logits [B, K, V]
Step = Callable[[Tensor, int, Tensor], Tensor]


class SlotCache:
    """Keys and values [B, heads, L * K, depth] of one layer, filled K slots at a time."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        self._keys = torch.empty(shape, device=device)
        self._values = torch.empty(shape, device=device)
        self._filled = 0

    def write(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores keys and values [B, heads, K, depth] of one position; returns all filled ones."""
        start, self._filled = self._filled, self._filled + keys.shape[2]
        self._keys[:, :, start : self._filled] = keys
        self._values[:, :, start : self._filled] = values
        return self._keys[:, :, : self._filled], self._values[:, :, : self._filled]


@dataclass(kw_only=True)
class _State:
    """Hypotheses by falling score; sequences [B, K, L] hold the start token at position 0.

    `live` log-probabilities and `finished` scores are [B, K]; a `finished` score of NEVER marks an empty place.
    """

    live: Tensor
    live_sequences: Tensor
    finished: Tensor
    finished_sequences: Tensor
    ancestors: Tensor


def length_penalty(config: TransformerConfig, length: int) -> float:
    """((5 + length) / 6) ** length_penalty, `length` counting generated tokens (Wu et al. 2016, equation 14)."""
    penalty: float = ((5.0 + length) / 6.0) ** config.length_penalty
    return penalty


def beam_search(step: Step, config: TransformerConfig, beam_size: int, *, needed: Tensor) -> Tensor:
    """Returns the best hypothesis of each sentence without its start token, int32 [B, L - 1], zeros after its end.

    A sentence that ends no hypothesis within L - 1 tokens gives its best unfinished one.

    Args:
      step: the decoder.
      needed: bool [B]; the search does not wait for other sentences, whose results mean nothing.
    """
    shape = (len(needed), beam_size, config.max_length)
    sequences = torch.zeros(shape, dtype=torch.int64, device=needed.device)
    sequences[..., 0] = START
    never = torch.full((len(needed), beam_size), NEVER, device=needed.device)
    live = never.clone()
    live[:, 0] = 0
    state = _State(
        live=live,
        live_sequences=sequences,
        finished=never,
        finished_sequences=torch.zeros_like(sequences),
        ancestors=torch.zeros_like(sequences),
    )
    longest = length_penalty(config, config.max_length)
    for position in range(config.max_length - 1):
        settled = state.finished[:, -1] > state.live[:, 0] / longest
        if not bool((~settled & needed).any()):
            break
        state = _extend(step, config, position, state)
    has_finished = state.finished[:, :1] > NEVER
    best = torch.where(has_finished, state.finished_sequences[:, 0], state.live_sequences[:, 0])
    return best[:, 1:].to(torch.int32)


def _extend(step: Step, config: TransformerConfig, position: int, state: _State) -> _State:
    """Adds one token to every live hypothesis and sorts the results into live and finished ones."""
    beam_size = state.live.shape[1]
    beams = torch.arange(beam_size, device=state.live.device)
    ancestors = state.ancestors.clone()
    ancestors[:, :, position] = beams
    seen = (ancestors[:, None, :, : position + 1, None] == beams).flatten(3)
    logits = step(state.live_sequences[:, :, position], position, seen)

    parents, tokens, log_probs = _candidates(state.live, logits, 2 * beam_size)
    sequences = _take(state.live_sequences, parents)
    sequences[:, :, position + 1] = tokens
    ended = tokens == END

    live, chosen = log_probs.masked_fill(ended, NEVER).topk(beam_size)
    scores = (log_probs / length_penalty(config, position + 1)).masked_fill(~ended, NEVER)
    finished, retained = torch.cat([state.finished, scores], dim=1).topk(beam_size)
    return _State(
        live=live,
        live_sequences=_take(sequences, chosen),
        finished=finished,
        finished_sequences=_take(torch.cat([state.finished_sequences, sequences], dim=1), retained),
        ancestors=_take(ancestors, parents.gather(1, chosen)),
    )


def _candidates(live: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best extensions of `live` [B, K] by `logits` [B, K, V]: parents, tokens, scores, each [B, count].

    The best of all are among the best of each beam, which are far fewer to normalise and to sort.
    """
    per_beam = min(count, logits.shape[-1])
    values, tokens = logits.topk(per_beam)
    offsets = live - logits.logsumexp(-1)
    scores, chosen = (values + offsets[..., None]).flatten(1).topk(count)
    return chosen // per_beam, tokens.flatten(1).gather(1, chosen), scores


def _take(sequences: Tensor, rows: Tensor) -> Tensor:
    """`sequences` [B, K, L] at `rows` [B, n] -> [B, n, L]."""
    return sequences.gather(1, rows[..., None].expand(-1, -1, sequences.shape[2]))
