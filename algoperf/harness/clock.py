"""The submission clock and the ledger that says where the time went.

The clock is monotonic. While the submission runs, time is charged to it; everything else happens while the clock is
paused. The device is fenced at the end of every charged segment and not at every step, so that dispatch may run ahead
and no queued work escapes into a pause. Under several processes a segment lasts as long as on the slowest rank.
"""

import contextlib
import enum
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Item(enum.StrEnum):
    """Where wall time goes. The first three are charged to the submission."""

    DATA_SELECTION = "data_selection"
    UPDATE = "update"
    PREPARE_FOR_EVAL = "prepare_for_eval"
    EVALUATION = "evaluation"
    CHECKPOINT = "checkpoint"
    LOGGING = "logging"
    IMPORT_SUBMISSION = "import_submission"
    INIT_OPTIMIZER_STATE = "init_optimizer_state"
    CALIBRATION = "calibration"
    OTHER = "other"


CHARGED = (Item.DATA_SELECTION, Item.UPDATE, Item.PREPARE_FOR_EVAL)


class ClockError(RuntimeError):
    """The clock was used out of order: nested segments, or stopped twice."""


class Clock:
    """Charges time to the submission or to one of the pauses.

    Args:
      fence: waits until the device is idle; called at the end of every charged segment with what it should wait for.
      max_over_ranks: largest value over processes; the identity for one process.
      now: seconds of a monotonic clock.
      earlier_s: seconds per item that this process spent for the run before the clock was made.
      observe: told of each charged segment, before it begins and after it has ended, and of the time charged so far;
        what it takes is not charged.
    """

    def __init__(
        self,
        *,
        fence: Callable[..., None],
        max_over_ranks: Callable[[float], float] = float,
        now: Callable[[], float] = time.monotonic,
        earlier_s: Mapping[Item, float] | None = None,
        observe: Callable[[bool, float], None] | None = None,
    ) -> None:
        self.now = now
        self._fence = fence
        self._max_over_ranks = max_over_ranks
        self._observe = observe
        self._seconds = {**dict.fromkeys(Item, 0.0), **(earlier_s or {})}
        self._charged_s = 0.0  # of ended segments: the sum is read at every step
        self._item = Item.OTHER
        self._mark = now()
        self._selection_s = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"ledger_s": self.ledger_s()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Adds the ledger of the earlier processes of this run to what this process has spent so far.

        Raises:
          ClockError: a segment is running.
        """
        self._require_pause("load_state_dict")
        for item in Item:
            self._seconds[item] += float(state["ledger_s"].get(item, 0.0))
        self._charged_s = self._sum_charged()

    def start_steps(self) -> None:
        """Begins a charged segment of training steps."""
        self._require_pause("start_steps")
        self._switch(Item.UPDATE)
        self._selection_s = 0.0

    def add_data_selection(self, seconds: float) -> None:
        """Says that `seconds` of the present segment went into data selection."""
        self._selection_s += seconds

    def wait(self, *trees: object) -> None:
        """Fences the device inside a segment of steps, so that `submission_time_s` has caught up with queued work."""
        if self._item is not Item.UPDATE:
            raise ClockError("wait needs a running segment of steps; call start_steps first")
        self._fence(*trees)

    def stop_steps(self, *trees: object) -> None:
        """Fences the device and ends the segment: what was not data selection is update."""
        if self._item is not Item.UPDATE:
            raise ClockError("stop_steps needs a running segment of steps; call start_steps first")
        self._fence(*trees)
        before = self._seconds[Item.UPDATE]
        self._switch(Item.OTHER, charged=True)
        segment_s = self._seconds[Item.UPDATE] - before
        selection_s = min(self._selection_s, segment_s)
        self._seconds[Item.DATA_SELECTION] += selection_s
        self._seconds[Item.UPDATE] -= selection_s
        self._charged_s = self._sum_charged()

    def end_segment(self) -> None:
        """Ends the segment that a failure cut short, if one runs; waits neither for the device nor for other ranks."""
        if self._item is not Item.OTHER:
            self._switch(Item.OTHER)

    @contextlib.contextmanager
    def preparing_for_eval(self, trees: Callable[[], tuple[object, ...]] = tuple) -> Iterator[None]:
        """Charges the block to the submission; afterwards waits for `trees()` and the device."""
        self._require_pause(Item.PREPARE_FOR_EVAL)
        self._switch(Item.PREPARE_FOR_EVAL)
        try:
            yield
            self._fence(*trees())
        finally:
            self._switch(Item.OTHER, charged=True)

    @contextlib.contextmanager
    def paused_for(self, item: Item) -> Iterator[None]:
        """Books the block under an item that is not charged."""
        if item in CHARGED:
            raise ClockError(f"{item} is charged to the submission and is no pause")
        self._require_pause(item)
        self._switch(item)
        try:
            yield
        finally:
            self._switch(Item.OTHER)

    def submission_time_s(self) -> float:
        """Charged seconds so far; inside a segment, queued device work is counted once `wait` has been called."""
        running = self._segment_s() if self._item in CHARGED else 0.0
        return self._charged_s + running

    def ledger_s(self) -> dict[str, float]:
        """Seconds per item up to now; they add up to the wall time of the run."""
        seconds = {str(item): value for item, value in self._seconds.items()}
        seconds[self._item] += self._segment_s()
        return seconds

    def seconds(self, item: Item) -> float:
        return self._seconds[item]

    def _segment_s(self) -> float:
        """Seconds of the present segment so far."""
        return self.now() - self._mark

    def _sum_charged(self) -> float:
        return sum(self._seconds[item] for item in CHARGED)

    def _require_pause(self, requested: str) -> None:
        if self._item is not Item.OTHER:
            raise ClockError(f"cannot begin {requested} inside {self._item}; segments do not nest")

    def _switch(self, item: Item, *, charged: bool = False) -> None:
        if self._observe is not None and item in CHARGED:
            self._observe(True, self._charged_s)
        was_charged = self._item in CHARGED
        segment_s = self._segment_s()
        self._seconds[self._item] += self._max_over_ranks(segment_s) if charged else segment_s
        self._charged_s = self._sum_charged()
        self._mark = self.now()
        self._item = item
        if self._observe is not None and was_charged:
            self._observe(False, self._charged_s)


class StepCostClock(Clock):
    """Charges a stated cost for each step and each `prepare_for_eval`, and measures only the pauses.

    A run's times then depend neither on the machine nor on its load: they are the steps times what a step was measured
    to cost beside the reference's (`python -m algoperf.step_cost`).

    Args:
      step_s, prepare_for_eval_s: seconds that are charged for each.
      other: of `Clock`.
    """

    def __init__(self, *, step_s: float, prepare_for_eval_s: float, **other: Any) -> None:
        super().__init__(**other)
        self._step_s = step_s
        self._prepare_for_eval_s = prepare_for_eval_s
        self._steps = 0

    def start_steps(self) -> None:
        self._steps = 0
        super().start_steps()

    def add_data_selection(self, seconds: float) -> None:
        """Said once in each step, which is charged as one; all of it is update."""
        self._steps += 1

    def _segment_s(self) -> float:
        if self._item is Item.UPDATE:
            return self._steps * self._step_s
        if self._item is Item.PREPARE_FOR_EVAL:
            return self._prepare_for_eval_s
        return super()._segment_s()
