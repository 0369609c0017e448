"""Editions of the benchmark: what AlgoPerf's releases settle for all workloads alike, as data.

What an edition settles for one workload (budget, evaluation period, step hint) is in the workload's definition.
"""

import enum
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from algoperf.errors import UserError


class MatmulPrecision(enum.StrEnum):
    """How float32 factors of matrix products and convolutions are rounded; sums are float32."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"


class EditionError(UserError, ValueError):
    """There is no such edition, or it does not have what was asked for; one line that says what has."""


@dataclass(frozen=True, kw_only=True)
class Edition:
    """A release of the rules; results of two editions are never on one board.

    Attributes:
      name: as in flags and records.
      matmul_precision: of matrix products and convolutions, in both frameworks.
    """

    name: str
    matmul_precision: MatmulPrecision


# AlgoPerf v0.6 (2025) leaves the frameworks' defaults, which differ; here both compute in float32.
V0_6 = Edition(name="v0.6", matmul_precision=MatmulPrecision.FLOAT32)
# AlgoPerf 1.0.0 (documented 2026-02-05) allows TF32 in both frameworks, for all workloads.
V1_0 = Edition(name="v1.0", matmul_precision=MatmulPrecision.TF32)
# In order of time.
EDITIONS: Mapping[str, Edition] = MappingProxyType({edition.name: edition for edition in (V0_6, V1_0)})


def since(name: str) -> tuple[str, ...]:
    """Names of the edition `name` and of those after it.

    Raises:
      EditionError: there is no such edition.
    """
    if name not in EDITIONS:
        raise EditionError(f"edition must be one of {', '.join(EDITIONS)}, got {name!r}")
    return tuple(itertools.dropwhile(lambda edition: edition != name, EDITIONS))
