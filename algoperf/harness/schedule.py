"""When to evaluate, and how several processes agree on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class EvaluationSchedule:
    """Due after the first step, and then when `period_s` of submission time have passed since the last evaluation.

    Attributes:
      period_s: seconds of submission time between evaluations.
      last_s: submission time at the last evaluation; None before the first.
    """

    period_s: float
    last_s: float | None = None

    def is_due(self, submission_time_s: float) -> bool:
        return self.last_s is None or submission_time_s - self.last_s >= self.period_s

    def seconds_left(self, submission_time_s: float) -> float:
        return 0.0 if self.last_s is None else max(0.0, self.period_s - (submission_time_s - self.last_s))

    def evaluated(self, submission_time_s: float) -> None:
        self.last_s = submission_time_s

    def state_dict(self) -> dict[str, Any]:
        return {"last_s": self.last_s}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.last_s = state["last_s"]


class DeviceSyncSchedule:
    """Steps at which to wait for the device, so that evaluations and the end of the budget come when they are due.

    Steps are dispatched asynchronously: the host clock may be many steps ahead of the device. Waiting at every step
    would be exact but slow. The next wait is placed half way, in steps, to the next event (an evaluation or the end of
    the budget), whose step is extrapolated from the time per step between the last two waits. The distance halves each
    time, so that a period of n steps has about log2(n) waits, and the event is met within a step or two.

    Args:
      step, submission_time_s: where the schedule starts; the device is idle.
    """

    def __init__(self, step: int, submission_time_s: float) -> None:
        self._last = (step, submission_time_s)
        self._next_step = step + 1

    def is_due(self, step: int) -> bool:
        return step >= self._next_step

    def taken(self, step: int, submission_time_s: float, seconds_left: float) -> None:
        """Says that at `step`, with the device idle, `submission_time_s` had passed and the event was so far away."""
        steps, seconds = step - self._last[0], submission_time_s - self._last[1]
        steps_left = seconds_left * steps / seconds if seconds > 0 else 4.0 * steps
        self._last = (step, submission_time_s)
        self._next_step = step + max(1, int(steps_left / 2))


class RankClockSync:
    """Lets ranks take the same decision at the same step without talking at every step.

    Ranks compare clocks at agreed steps only. The distance to the next one follows from the agreed time per step, so
    that at most `slack_s` seconds pass between comparisons. One process compares with nobody and always agrees.
    """

    def __init__(self, *, world_size: int, max_over_ranks: Callable[[float], float], slack_s: float) -> None:
        self._alone = world_size == 1
        self._max_over_ranks = max_over_ranks
        self._slack_s = slack_s
        self._last = (0, 0.0)
        self._next_step = 0

    def restart(self, step: int, submission_time_s: float) -> None:
        """Begins anew after a pause; `submission_time_s` must be agreed already."""
        self._last = (step, submission_time_s)
        self._next_step = step + 1

    def time_s(self, step: int, submission_time_s: float, *, now: bool = False) -> float | None:
        """The agreed submission time at `step`, or None where ranks do not compare at this step."""
        if self._alone:
            return submission_time_s
        if step < self._next_step and not now:
            return None
        agreed_s = self._max_over_ranks(submission_time_s)
        steps, seconds = step - self._last[0], agreed_s - self._last[1]
        per_step_s = seconds / steps if steps > 0 and seconds > 0 else self._slack_s
        self._next_step = step + max(1, int(self._slack_s / per_step_s))
        return agreed_s

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is up on any rank; to be called by all ranks at an agreed step."""
        return flag if self._alone else self._max_over_ranks(float(flag)) > 0
