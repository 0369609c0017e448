"""Named lists of workloads that are run and scored together."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Workloads that one command runs and one score covers.

    Attributes:
      name: what `--workload` takes; never the name of a workload.
      title: one line for tables.
      workloads: names in the order of running.
    """

    name: str
    title: str
    workloads: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.workloads or len(set(self.workloads)) != len(self.workloads):
            raise ValueError(f"suite {self.name!r} must list at least one workload and each once, got {self.workloads}")


_QUALIFICATION = ("criteo1tb", "ogbg", "wmt")
_FULL = (
    *("criteo1tb", "fastmri", "imagenet_resnet", "imagenet_vit"),
    *("librispeech_conformer", "librispeech_deepspeech", "ogbg", "wmt"),
)


def _minis(workloads: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_mini" for name in workloads)


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(name="full", title="The eight workloads", workloads=_FULL),
            Suite(name="qualification", title="The three workloads of the qualification set", workloads=_QUALIFICATION),
            Suite(name="mini", title="The eight minis", workloads=_minis(_FULL)),
            Suite(
                name="mini_qualification", title="The minis of the qualification set", workloads=_minis(_QUALIFICATION)
            ),
        )
    }
)
