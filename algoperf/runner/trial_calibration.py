"""The reference steps that are measured beside one trial: its budget in seconds, and its times in steps."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from algoperf.definition import ReferenceBudget, WorkloadDefinition
from algoperf.records import json
from algoperf.records.calibration import Calibration, Measurement, combined
from algoperf.records.layout import CALIBRATION_FILE
from algoperf.runner.calibration import CalibrationError, Calibrator

START, END = "start", "end"
# A machine that is slower than it has been by more than this is called busy.
_BUSY_FACTOR = 1.25


@dataclass(kw_only=True)
class TrialCalibration:
    """What is measured beside one trial; kept in its folder, so that a resumed trial keeps its budget.

    Attributes:
      calibrator: None where a process continues without.
      budget_factor: of the tuning rules.
      least_step_s: before the first measurement of this trial.
    """

    trial_dir: Path
    declared: ReferenceBudget
    calibrator: Calibrator | None
    budget_factor: float
    source: str
    least_step_s: float | None
    measurements: list[Measurement]

    @classmethod
    def start(
        cls, definition: WorkloadDefinition, trial_dir: Path, calibrator: Calibrator | None, *, budget_factor: float
    ) -> Self | None:
        """Measures at the start of a process; None where there is nothing to go by.

        A measurement that fails is reported; the budget then stays in seconds.
        """
        if not isinstance(definition.budget, ReferenceBudget):
            return None
        earlier = _measured_before(trial_dir)
        if earlier is None and calibrator is None:
            return None
        least = calibrator.least() if calibrator is not None else None
        new: dict[str, Any] = {"source": calibrator.source if calibrator else "", "measurements": []}
        new["least_step_s"] = least.step_s if least else None
        trial = cls(
            trial_dir=trial_dir,
            declared=definition.budget,
            calibrator=calibrator,
            budget_factor=budget_factor,
            **(earlier or new),
        )
        trial._measure(START)
        if not trial.measurements:
            return None
        trial._announce(definition)
        return trial

    @property
    def budget(self) -> ReferenceBudget:
        """In the seconds of this trial."""
        return self.declared.at_cost(self._budget_step_s)

    def end(self) -> None:
        """Measures at the end of a process."""
        self._measure(END)

    def calibrated(self, definition: WorkloadDefinition) -> WorkloadDefinition:
        """The definition with the seconds that its budget takes here; its digest is the same."""
        return replace(definition, budget=self.budget)

    def record(self, *, submission_time_s: float, time_to_target_s: float | None) -> Calibration:
        """For `trial.json`."""
        step_s, spread = combined([measurement.cost for measurement in self.measurements])
        return Calibration(
            source=self.source,
            budget_step_s=self._budget_step_s,
            budget_steps=self.declared.max_runtime_steps * self.budget_factor,
            least_step_s=self.least_step_s,
            measurements=tuple(self.measurements),
            step_s=step_s,
            spread=spread,
            submission_time_steps=submission_time_s / step_s,
            time_to_target_steps=None if time_to_target_s is None else time_to_target_s / step_s,
        )

    @property
    def _budget_step_s(self) -> float:
        return self.measurements[0].cost.step_s

    def _measure(self, at: str) -> None:
        if self.calibrator is None or (self.measurements and self.calibrator.is_stated):
            return
        try:
            cost = self.calibrator.measure()
        except CalibrationError as error:
            self.calibrator.report(f"warning: {error}")
            return
        self.measurements.append(Measurement(at=at, cost=cost))
        content = {"source": self.source, "least_step_s": self.least_step_s, "measurements": self.measurements}
        json.write(self.trial_dir / CALIBRATION_FILE, json.plain(content))

    def _announce(self, definition: WorkloadDefinition) -> None:
        if self.calibrator is None:
            return
        now_s = self.measurements[-1].cost.step_s
        busy = ""
        if self.least_step_s is not None and now_s > _BUSY_FACTOR * self.least_step_s:
            busy = f", {now_s / self.least_step_s:.1f} times as much as this machine has shown: it is busy"
        self.calibrator.report(
            f"{definition.name}: a reference step takes {now_s:.3g} s here{busy}; the reference reaches the target "
            f"after about {_minutes(self.declared.target_steps * now_s)} of training, and a run takes at most "
            f"{_minutes(self.budget.max_runtime_s * self.budget_factor)}, evaluations aside"
        )


def _measured_before(trial_dir: Path) -> dict[str, Any] | None:
    """What an earlier process of the trial measured; None where there is none."""
    values = json.read_if_intact(trial_dir / CALIBRATION_FILE)
    try:
        if values is None or not values["measurements"]:
            return None
        return {
            "source": str(values["source"]),
            "least_step_s": values["least_step_s"],
            "measurements": [Measurement.from_json(entry) for entry in values["measurements"]],
        }
    except (KeyError, TypeError, ValueError):
        return None


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
