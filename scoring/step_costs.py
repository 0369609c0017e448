"""What a step of each submission costs, from files of `python -m algoperf.step_cost`, for the projected board.

Time is steps times the cost of a step. A mini gives the steps; the cost may come from another machine, and from the
full-size model, so that the board says what the steps would take there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from algoperf.records.step_costs import RelativeStepCost, StepCosts
from algoperf.registry import REGISTRY, UnknownWorkloadError
from scoring.logs import LogsError


@dataclass(frozen=True, kw_only=True)
class ProjectedCosts:
    """Costs by submission, in steps of one reference.

    Attributes:
      costs: submission -> workload, full-size or mini -> cost.
    """

    costs: Mapping[str, Mapping[str, RelativeStepCost]]

    @classmethod
    def load(cls, paths: Iterable[Path]) -> "ProjectedCosts":
        """Reads files `<submission>.json`, and folders of such files.

        Raises:
          LogsError: there is none, or two were measured against different references.
          StepCostsFileError: a file holds no step costs.
        """
        paths = list(paths)
        files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
        loaded = {file.stem: StepCosts.load(file) for file in files}
        if not loaded:
            raise LogsError(f"expected files <submission>.json of step costs, got none in {', '.join(map(str, paths))}")
        references = {(costs.framework, costs.reference_digest) for costs in loaded.values()}
        if len(references) > 1:
            raise LogsError(
                f"step costs of {', '.join(sorted(loaded))} are in steps of {len(references)} different references; "
                "measure all against the same one, in one framework"
            )
        return cls(costs={name: costs.step_costs for name, costs in loaded.items()})

    def of(self, submission: str, workload: str) -> RelativeStepCost:
        """That of the full-size workload where it was measured, else that of the mini.

        Raises:
          LogsError: neither was measured.
        """
        base = _base(workload)
        own = self.costs.get(submission, {})
        cost = own.get(base) or own.get(workload)
        if cost is None:
            measured = ", ".join(sorted(own)) or "nothing"
            raise LogsError(
                f"--step_costs has no cost of {submission} on {base} or {workload}, but on {measured}; "
                f"measure it: python -m algoperf.step_cost --workload={base} --output={submission}.json"
            )
        return cost


def _base(workload: str) -> str:
    try:
        return REGISTRY.get(workload).base
    except UnknownWorkloadError:  # described by the rule set alone
        return workload


def projected_costs(paths: str | None) -> ProjectedCosts | None:
    """The costs of a comma list of files and folders; None where there is no list."""
    return None if paths is None else ProjectedCosts.load(Path(path).expanduser() for path in paths.split(",") if path)
