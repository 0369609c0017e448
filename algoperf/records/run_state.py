"""The file `run.json` of a checkpoint: what the harness knows about a run, next to the state on the devices."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from algoperf.edition import V0_6
from algoperf.errors import UserError
from algoperf.records.pauses import PauseSummary

RUN_STATE_FILE = "run.json"
RUN_STATE_SCHEMA_VERSION = 4
_FIRST_WITH_PAUSES, _FIRST_WITH_EDITION = 3, 4

# What `state_dict` of each component of a run holds. Components read and write their own entries by these names.
COMPONENTS: Mapping[str, frozenset[str]] = {
    "training": frozenset({"global_step", "complete", "eval_results"}),
    "clock": frozenset({"ledger_s"}),
    "stopping": frozenset({"validation_goal_reached", "test_goal_reached", "nonfinite_evaluations"}),
    "schedule": frozenset({"last_s"}),
    "input_queue": frozenset({"batches_taken"}),
    "recorder": frozenset({"rows"}),
    "host_random": frozenset({"python", "python_version", "numpy"}),
    "pauses": frozenset(entry.name for entry in fields(PauseSummary)),
}


class RunStateSchemaError(UserError):
    """A checkpoint was written by a version of algoperf whose `run.json` this one cannot read."""


class Stateful(Protocol):
    """A component of a run that saves and restores itself."""

    def state_dict(self) -> dict[str, Any]:
        """Returns a copy of the state that JSON can hold, under the names of `COMPONENTS`."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned in an earlier process of the same run."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunStateRecord:
    """Content of `run.json`: the settings that hold for the whole run, and the state of each component.

    Attributes:
      edition: of the rules; `v0.6` in schemas up to 3.
      matmul_precision: that was asked for; None in schemas up to 3.
      algoperf_version: of the process that wrote it; None in schemas up to 3.
      preemption_count: number of earlier resumes.

    Raises:
      ValueError: a component has other entries than `COMPONENTS` says.
    """

    seed: int
    edition: str
    matmul_precision: str | None
    algoperf_version: str | None
    preemption_count: int
    training: Mapping[str, Any]
    clock: Mapping[str, Any]
    stopping: Mapping[str, Any]
    schedule: Mapping[str, Any]
    input_queue: Mapping[str, Any]
    recorder: Mapping[str, Any]
    host_random: Mapping[str, Any]
    pauses: Mapping[str, Any]

    def __post_init__(self) -> None:
        for component, expected in COMPONENTS.items():
            entries = set(getattr(self, component))
            if entries != expected:
                raise ValueError(f"state of {component}: expected {sorted(expected)}, got {sorted(entries)}")

    def as_json(self) -> dict[str, Any]:
        return {"schema_version": RUN_STATE_SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, source: str) -> "RunStateRecord":
        """Reads the present schema and those before it.

        The first had no `schema_version`, the second no pauses, the third neither edition nor precision.

        Args:
          content: the JSON object.
          source: name of the checkpoint, for the message.

        Raises:
          RunStateSchemaError: the schema is of a later version.
          ValueError: entries are missing or unknown.
        """
        version = content.get("schema_version", 1)
        if version not in range(1, RUN_STATE_SCHEMA_VERSION + 1):
            raise RunStateSchemaError(
                f"{source} has the run state schema {version}, expected at most {RUN_STATE_SCHEMA_VERSION}; resume "
                "with the version of algoperf that wrote it, or start again with --overwrite"
            )
        try:
            entries = {name: value for name, value in content.items() if name != "schema_version"}
            if version == 1:
                entries = _nested(entries)
            if version < _FIRST_WITH_PAUSES:
                entries["pauses"] = PauseSummary().as_json()
            entries["pauses"] = {**PauseSummary().as_json(), **entries["pauses"]}
            if version < _FIRST_WITH_EDITION:
                entries |= {"edition": V0_6.name, "matmul_precision": None, "algoperf_version": None}
            return cls(**entries)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{RUN_STATE_FILE}: {error}") from error


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1, in which the entries of all components stood side by side, in the form of version 2."""
    return {
        "seed": flat["seed"],
        "preemption_count": flat["preemption_count"],
        "training": {name: flat[name] for name in ("global_step", "complete", "eval_results")},
        "clock": {"ledger_s": flat["ledger_s"]},
        "stopping": {name: flat[name] for name in COMPONENTS["stopping"]},
        "schedule": {"last_s": flat["last_evaluation_s"]},
        "input_queue": {"batches_taken": flat["data_position"]},
        "recorder": {"rows": flat["rows"]},
        "host_random": flat["host_random"],
    }
