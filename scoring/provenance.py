"""On what the compared runs ran: hardware, driver, versions, precision, commit; and where they differ."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from algoperf.definition import JAX, PYTORCH
from algoperf.digest import digest_scheme
from algoperf.edition import MatmulPrecision
from scoring.log_issues import Severity
from scoring.logs import LogTree, Trial

_DEFINITION_KEY = "definition_digest"
_NOT_RECORDED = "not recorded"
FRAMEWORK, DEFINITION, PRECISION = "framework", "workload definition", "precision of matrix products"
_DEVICES = ("hardware", "devices")


@dataclass(frozen=True, kw_only=True)
class _Property:
    """Something that runs record.

    Attributes:
      key: in `meta_data_<k>.json`, of AlgoPerf and of this project alike; empty where it is not there.
      path: keys in the provenance of `trial.json`, which AlgoPerf's logs lack.
      framework: the only framework whose runs it matters to; empty for both.
      severity: of a difference between submissions.
    """

    key: str = ""
    path: tuple[str, ...] = ()
    framework: str = ""
    severity: Severity = Severity.WARNING


_PROPERTIES: Mapping[str, _Property] = MappingProxyType(
    {
        "GPU": _Property(key="gpu_model_name"),
        "number of GPUs": _Property(key="gpu_count"),
        "driver": _Property(key="gpu_driver", severity=Severity.NOTE),
        "CPU": _Property(key="cpu_model_name"),
        "number of CPUs": _Property(key="cpu_count"),
        "CPUs that the run could use": _Property(path=("hardware", "cpu_threads_usable")),
        PRECISION: _Property(path=(*_DEVICES, "matmul_precision")),
        "Python": _Property(key="python_version", severity=Severity.NOTE),
        "JAX": _Property(key="package.jax", framework=JAX.name),
        "PyTorch": _Property(key="package.torch", framework=PYTORCH.name),
        "commit": _Property(key="git_commit_hash", severity=Severity.NOTE),
        DEFINITION: _Property(key=_DEFINITION_KEY, severity=Severity.ERROR),
    }
)


@dataclass(frozen=True, kw_only=True)
class ProvenanceRow:
    """One property of all runs.

    Attributes:
      values: for each submission, the values seen and in how many trials.
      differs: between two runs that recorded it, so that comparing them is in doubt.
      severity: of a difference between submissions.
    """

    name: str
    values: dict[str, dict[str, int]]
    differs: bool
    severity: Severity

    def recorded(self, submission: str) -> set[str]:
        """Values that the submission's runs recorded."""
        return set(self.values[submission]) - {_NOT_RECORDED}


def provenance_rows(tree: LogTree) -> list[ProvenanceRow]:
    """Rows for every property that some trial recorded, and one for the framework."""
    rows = []
    for name, recorded_property in _PROPERTIES.items():
        counts: dict[str, Counter[str]] = {s: Counter() for s in tree.submissions}
        for trial in tree.trials:
            if recorded_property.framework in ("", trial.framework):
                counts[trial.submission][_value(trial, recorded_property)] += 1
        known = {value for counter in counts.values() for value in counter} - {_NOT_RECORDED}
        if known:
            differs = _definitions_differ(known) if name == DEFINITION else len(known) > 1
            rows.append(_row(name, counts, differs, recorded_property.severity))
    frameworks: dict[str, Counter[str]] = {s: Counter() for s in tree.submissions}
    for trial in tree.trials:
        frameworks[trial.submission][trial.framework] += 1
    differs = len({f for counter in frameworks.values() for f in counter}) > 1
    rows.append(_row(FRAMEWORK, frameworks, differs, Severity.NOTE))
    return rows


def recorded_digest(trial: Trial) -> str | None:
    """Digest of the workload definition that the run recorded; None where it did not."""
    value = trial.record.definition_digest if trial.record else trial.meta_data.get(_DEFINITION_KEY)
    return value if isinstance(value, str) and value else None


def recorded_edition(trial: Trial) -> str | None:
    """Edition of the rules that the run was made under; None where it is not known, as in AlgoPerf's logs."""
    value = trial.record.edition if trial.record else trial.meta_data.get("edition")
    return value if isinstance(value, str) and value else None


def recorded_precision(trial: Trial) -> str | None:
    """The precision that the devices computed in; None where it is not known.

    Records up to version 4 have a name of the framework's setting in its place. It says nothing of CPUs, which compute
    in float32 under every setting.
    """
    devices = _at(trial.record.provenance if trial.record else {}, _DEVICES)
    precision = _at(devices, ("matmul_precision",))
    if not isinstance(precision, str) or not precision:
        return None
    return MatmulPrecision.FLOAT32 if is_on_cpu(trial) else precision


def is_on_cpu(trial: Trial) -> bool:
    """Whether the run recorded that its devices are CPUs, to which no precision applies but float32."""
    platform: object = _at(trial.record.provenance if trial.record else {}, (*_DEVICES, "platform"))
    return platform == "cpu"


def _row(name: str, counts: dict[str, Counter[str]], differs: bool, severity: Severity) -> ProvenanceRow:
    values = {s: dict(sorted(c.items())) for s, c in counts.items()}
    return ProvenanceRow(name=name, values=values, differs=differs, severity=severity)


def _value(trial: Trial, recorded_property: _Property) -> str:
    if recorded_property is _PROPERTIES[PRECISION]:
        return recorded_precision(trial) or _NOT_RECORDED
    if recorded_property.key == _DEFINITION_KEY:
        digest = recorded_digest(trial)
        # the definition differs from workload to workload by nature, so it is compared workload by workload
        return _NOT_RECORDED if digest is None else f"{trial.workload}: {digest}"
    value = (
        _at(trial.record.provenance if trial.record else {}, recorded_property.path) if recorded_property.path else None
    )
    if value is None and recorded_property.key:
        value = trial.meta_data.get(recorded_property.key)
    return _NOT_RECORDED if value in (None, "") else str(value)


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _definitions_differ(values: set[str]) -> bool:
    """Whether a workload has two digests of one scheme; what is in one scheme says nothing about another."""
    pairs = [value.split(": ", 1) for value in values]
    return max(Counter((workload, digest_scheme(digest)) for workload, digest in pairs).values()) > 1
