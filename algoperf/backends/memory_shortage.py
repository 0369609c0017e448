"""What is said before a run whose steps seem to need more memory than the device has. Imports no framework."""

from collections.abc import Callable, Sequence


def warning(
    bytes_of: Callable[[int], int], num_examples: int, lengths: Sequence[int], available_bytes: int
) -> str | None:
    """A line for a person; None where a step seems to fit.

    Args:
      bytes_of: the forecast for the first so many rows of every array of a batch.
      num_examples: of the batch.
      lengths: of its arrays; only where they are equal has a batch rows that can be taken apart.
      available_bytes: of the device.
    """
    fitting = num_examples
    needed = bytes_of(max(lengths))
    if needed <= available_bytes:
        return None
    can_split = len(set(lengths)) == 1
    while can_split and fitting > 1:
        fitting = (fitting + 1) // 2
        if bytes_of(fitting) <= available_bytes:
            break
    else:
        fitting = 0
    advice = f"; about {fitting} would fit, see --max_device_batch" if fitting else ""
    return (
        f"a step with AdamW on {num_examples} examples for this device takes about {needed / 1e9:.1f} GB, and the "
        f"device has {available_bytes / 1e9:.1f} GB{advice}"
    )
