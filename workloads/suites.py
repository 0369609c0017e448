"""The suites of each edition: which workloads are run and scored together, in as many studies as AlgoPerf asks for."""

from collections.abc import Mapping
from types import MappingProxyType

from algoperf.definition import EXTERNAL, SELF_TUNING, Suite
from algoperf.edition import V0_6, V1_0

_QUALIFICATION = ("criteo1tb", "ogbg", "wmt")
_OF_V0_6 = (
    "criteo1tb",
    "fastmri",
    "imagenet_resnet",
    "imagenet_vit",
    "librispeech_conformer",
    "librispeech_deepspeech",
    "ogbg",
    "wmt",
)
_OF_V1_0 = ("criteo1tb", "fastmri", "finewebedu_lm", *_OF_V0_6[2:])
_SCORED = {EXTERNAL.name: 3, SELF_TUNING.name: 3}
_QUALIFYING = {EXTERNAL.name: 1, SELF_TUNING.name: 3}


def _minis(workloads: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_mini" for name in workloads)


def _suites(edition: str, full: tuple[str, ...], rules: Mapping[str, str]) -> Mapping[str, Suite]:
    """The suites of an edition by name; `rules` has their rule sets."""
    workloads = {
        "full": (full, _SCORED, "mini"),
        "qualification": (_QUALIFICATION, _QUALIFYING, "mini_qualification"),
        "mini": (_minis(full), _SCORED, None),
        "mini_qualification": (_minis(_QUALIFICATION), _QUALIFYING, None),
    }
    return MappingProxyType(
        {
            name: Suite(name=name, edition=edition, workloads=members, studies=studies, rules=rules[name], mini=mini)
            for name, (members, studies, mini) in workloads.items()
        }
    )


SUITES: Mapping[str, Mapping[str, Suite]] = MappingProxyType(
    {
        V0_6.name: _suites(
            V0_6.name,
            _OF_V0_6,
            {
                "full": "v0.6",
                "qualification": "qualification",
                "mini": "mini",
                "mini_qualification": "mini_qualification",
            },
        ),
        V1_0.name: _suites(
            V1_0.name,
            _OF_V1_0,
            {
                "full": "v1.0",
                "qualification": "qualification-v1.0",
                "mini": "mini-v1.0",
                "mini_qualification": "mini_qualification-v1.0",
            },
        ),
    }
)
