"""What ran in a trial's process while the clock was paused, besides the benchmark. Facts, without a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

_MAX_NAMES = 16
# CPU seconds in pauses, and their share of the pauses, below which threads and processes count as idle.
_IDLE_CPU_S, _IDLE_SHARE = 1.0, 0.1
_LISTS = ("foreign_threads", "foreign_processes", "violations")


@dataclass(frozen=True, kw_only=True)
class PauseSummary:
    """Maxima and totals over the pauses of a trial, all its processes together; on rank 0.

    A thread or process is foreign where the benchmark did not start it: an honest submission may have some too (those
    of a compiler, for example), which use no time in pauses.

    Attributes:
      num_pauses: pauses for an evaluation or a checkpoint.
      total_s, longest_s: their wall time, seconds.
      foreign_threads, foreign_processes: names of foreign threads of Python and child processes, at most 16, sorted.
      max_foreign_threads, max_foreign_processes: largest number at the beginning of a pause.
      foreign_cpu_s, max_foreign_cpu_s: CPU seconds that they used during pauses, in all and in one pause.
      violations: of rules, as far as a pause shows them, each with the ID of the rule; at most 16.
    """

    num_pauses: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0
    foreign_threads: Sequence[str] = ()
    foreign_processes: Sequence[str] = ()
    max_foreign_threads: int = 0
    max_foreign_processes: int = 0
    foreign_cpu_s: float = 0.0
    max_foreign_cpu_s: float = 0.0
    violations: Sequence[str] = ()

    def with_pause(
        self, *, seconds: float, threads: Sequence[str] = (), processes: Sequence[str] = (), cpu_s: float = 0.0
    ) -> "PauseSummary":
        """The summary after one more pause, with the names of what was foreign in it and the CPU seconds it used."""
        return replace(
            self,
            num_pauses=self.num_pauses + 1,
            total_s=self.total_s + seconds,
            longest_s=max(self.longest_s, seconds),
            foreign_threads=_merged(self.foreign_threads, threads),
            foreign_processes=_merged(self.foreign_processes, processes),
            max_foreign_threads=max(self.max_foreign_threads, len(threads)),
            max_foreign_processes=max(self.max_foreign_processes, len(processes)),
            foreign_cpu_s=self.foreign_cpu_s + cpu_s,
            max_foreign_cpu_s=max(self.max_foreign_cpu_s, cpu_s),
        )

    @property
    def is_busy(self) -> bool:
        """Whether foreign threads and processes used more time in pauses than a compiler's tidying."""
        return self.foreign_cpu_s > max(_IDLE_CPU_S, _IDLE_SHARE * self.total_s)

    @property
    def errors(self) -> list[str]:
        """The violations, and work in pauses, each with the ID of its rule."""
        names = ", ".join([*self.foreign_threads, *self.foreign_processes])
        work = f"C1: {names} used {self.foreign_cpu_s:.1f} CPU seconds while the clock was paused"
        return [*self.violations, *([work] if self.is_busy else [])]

    def with_violations(self, violations: Sequence[str]) -> "PauseSummary":
        """The summary with further violations; those that are known already are not repeated."""
        new = [violation for violation in dict.fromkeys(violations) if violation not in self.violations]
        return replace(self, violations=(*self.violations, *new)[:_MAX_NAMES])

    def as_json(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, (tuple, list)) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `as_json`; raises TypeError for unknown entries."""
        names = {name: tuple(values.get(name, ())) for name in _LISTS}
        return cls(**{**values, **names})


def _merged(known: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*known, *more})[:_MAX_NAMES])
