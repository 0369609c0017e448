"""Lists the cases of the suite."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from algoperf.definition import FRAMEWORKS, Tier
from algoperf.registry import REGISTRY, Registry
from algoperf.testing.conformance.adapter import missing_framework
from algoperf.testing.conformance.checks import FRAMEWORK_CHECKS
from algoperf.testing.conformance.parity import PARITY_CHECKS
from algoperf.testing.conformance.prepared import prepared_data
from algoperf.testing.conformance.workload_fixture import workload_fixture


@dataclass(frozen=True, kw_only=True)
class Case:
    """One check of one workload.

    Attributes:
      workload: name in the registry.
      check: name of the check.
      frameworks: those that the check loads.
      shares: what one process computes once for all cases that give the same name (a workload's models, a dataset).
      skip_reason: why it cannot run here, or None.
      run: raises AssertionError where the workload fails; takes a data directory in which minis may be prepared.
    """

    workload: str
    check: str
    frameworks: tuple[str, ...]
    shares: str
    skip_reason: str | None
    run: Callable[[Path], None]

    @property
    def id(self) -> str:
        return "-".join((self.workload, self.check, *self.frameworks))


def conformance_cases(registry: Registry = REGISTRY, names: Iterable[str] | None = None) -> list[Case]:
    """Returns the cases of the workloads called `names` (default: all), those of one workload together."""
    return [case for name in (registry.names() if names is None else names) for case in _cases_of(registry, name)]


def _cases_of(registry: Registry, name: str) -> list[Case]:
    cases = []
    for framework in FRAMEWORKS:
        for check in FRAMEWORK_CHECKS:

            def run(data_dir: Path, check: Callable[..., None] = check, framework: str = framework) -> None:
                check(workload_fixture(registry, name, framework))

            cases.append(_case(name, check, (framework,), run))
    for compare in PARITY_CHECKS:

        def run_both(data_dir: Path, compare: Callable[..., None] = compare) -> None:
            compare(*(workload_fixture(registry, name, framework) for framework in FRAMEWORKS))

        cases.append(_case(name, compare, tuple(FRAMEWORKS), run_both))
    if registry.get(name).tier is Tier.MINI:
        dataset = f"{registry.get(name).dataset}-data"
        cases.append(_case(name, prepared_data, (), lambda data_dir: prepared_data(registry, name, data_dir), dataset))
    return cases


def _case(
    name: str,
    check: Callable[..., None],
    frameworks: tuple[str, ...],
    run: Callable[[Path], None],
    shares: str | None = None,
) -> Case:
    reasons = [reason for framework in frameworks if (reason := missing_framework(framework))]
    return Case(
        workload=name,
        check=check.__name__,
        frameworks=frameworks,
        shares=shares or name,
        skip_reason="; ".join(reasons) or None,
        run=run,
    )
