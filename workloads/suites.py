"""The suites: which workloads are run and scored together. Numbers of studies are those of AlgoPerf v0.6."""

from collections.abc import Mapping
from types import MappingProxyType

from algoperf.definition import EXTERNAL, SELF_TUNING, Suite

_QUALIFICATION = ("criteo1tb", "ogbg", "wmt")
_FULL = (
    "criteo1tb",
    "fastmri",
    "imagenet_resnet",
    "imagenet_vit",
    "librispeech_conformer",
    "librispeech_deepspeech",
    "ogbg",
    "wmt",
)


def _minis(workloads: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_mini" for name in workloads)


_SCORED = {EXTERNAL.name: 3, SELF_TUNING.name: 3}
_QUALIFYING = {EXTERNAL.name: 1, SELF_TUNING.name: 3}

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(name="full", workloads=_FULL, studies=_SCORED, rules="v0.6", mini="mini"),
            Suite(
                name="qualification",
                workloads=_QUALIFICATION,
                studies=_QUALIFYING,
                rules="qualification",
                mini="mini_qualification",
            ),
            Suite(name="mini", workloads=_minis(_FULL), studies=_SCORED, rules="mini"),
            Suite(
                name="mini_qualification",
                workloads=_minis(_QUALIFICATION),
                studies=_QUALIFYING,
                rules="mini_qualification",
            ),
        )
    }
)
