"""What splitting a batch into microbatches asks of a workload; imports no framework."""

from collections.abc import Iterable

from algoperf.errors import UserError


class MicrobatchError(UserError):
    """The batches of a workload cannot be split without changing what is computed."""


def num_microbatches(rows: int, max_rows: int) -> int:
    """The least number of equal parts of `rows` rows with at most `max_rows` each; both at least 1."""
    return next(count for count in range(-(-rows // max_rows), rows + 1) if rows % count == 0)


def check_splits(workload: str, lengths: Iterable[int], *, has_batch_statistics: bool) -> None:
    """Compares what a workload is with what splitting needs.

    Args:
      lengths: of axis 0 of the arrays of a batch.
      has_batch_statistics: training normalises by statistics of the batch.

    Raises:
      MicrobatchError: microbatches would compute something else.
    """
    if has_batch_statistics:
        raise MicrobatchError(
            f"--max_device_batch: {workload} normalises by statistics of the whole batch, which microbatches would "
            "change; use more devices, or a submission with a smaller batch"
        )
    if len(set(lengths)) != 1:
        raise MicrobatchError(
            f"--max_device_batch: the rows of a batch of {workload} are not its examples (several are packed into "
            "one), so that it cannot be split; leave the flag out"
        )
