"""How an evaluation cuts its logits, which do not fit into memory whole: 256 sequences of the full model take 53 GB."""

_LOGITS_BYTES = 1 << 30
_FLOAT32_BYTES = 4


def positions_per_chunk(batch_size: int, length: int, vocab_size: int) -> int:
    """The largest divisor of `length` with which logits [batch_size, divisor, vocab_size] take at most 1 GiB, or 1."""
    affordable = _LOGITS_BYTES // (_FLOAT32_BYTES * vocab_size * batch_size)
    return max(divisor for divisor in range(1, length + 1) if length % divisor == 0 and divisor <= max(1, affordable))
