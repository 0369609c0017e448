"""The folder of a publication: cleaned logs, sources, report, checksums and a manifest.

logs/<submission>/study_<s>/<workload>_<framework>/trial_<k>/   what scoring reads, and run.toml
sources/<submission>/                                         what a trial is run again from
report/                                                       the board of these logs alone
manifest.json, SHA256SUMS, README.md
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import __version__
from algoperf.publishing.sources import PublishError, SubmissionSources
from algoperf.records import json
from algoperf.records.layout import RUN_CONFIG_FILE, TRIAL_FILE
from algoperf.records.trial import TrialRecord
from algoperf.runner.run_file import RunFile
from scoring.merge import copy_files, plan_merge

LOGS, SOURCES, REPORT = "logs", "sources", "report"
MANIFEST, CHECKSUMS, README = "manifest.json", "SHA256SUMS", "README.md"
SCHEMA_VERSION = 1
_LOCAL_SETTINGS = ("data_dir", "imagenet_v2_data_dir", "librispeech_tokenizer_vocab_path")
_SHOWN = 3
_README = """# {names}

Runs of training algorithms on an AlgoPerf-style time-to-result benchmark, made by algoperf {version}.

- `logs/`: evaluations, hyperparameters, machine and outcome of every trial, for `algoperf merge` and `algoperf score`.
- `sources/`: the submissions that ran. `algoperf run --config=logs/.../run.toml` runs a trial again from them.
- `report/`: the leaderboard of these logs.

`sha256sum --check SHA256SUMS`, or `algoperf publish --check .`, says whether everything is as it was published.
"""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A published folder.

    Attributes:
      folder: where it is.
      manifest: what `manifest.json` holds.
    """

    folder: Path
    manifest: Mapping[str, Any]


def write_logs(results: Path, output: Path, submission: Path | None) -> dict[str, Any]:
    """Copies the cleaned logs and the sources of every submission; returns the manifest's part on them.

    Args:
      results: holds `<submission>/study_<s>/...`.
      output: a new folder.
      submission: file of the one submission, where it is no longer where the records say.

    Raises:
      PublishError: there are no trials, sources are not there or not those that ran, or a name of this machine is left.
      MergeError, OSError: the logs cannot be copied.
    """
    if output.exists() and any(output.iterdir()):
        raise PublishError(f"{output} is not empty; choose another --output_dir")
    trials = _trials(results)
    if submission is not None and len(trials) > 1:
        raise PublishError(f"--submission is for results of one submission, and there are {', '.join(sorted(trials))}")
    sources = {name: _sources(name, records, submission) for name, records in trials.items()}
    copies, _ = plan_merge([results], output / LOGS)
    copy_files(copies, is_public=True)
    for name, published in sources.items():
        for relative, file in published.files.items():
            target = output / SOURCES / name / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        for trial in trials[name]:
            _write_run_file(trial, output / LOGS / trial.relative_to(results), output / SOURCES / name / published.main)
    _check_clean(output / LOGS, results)
    return {name: _entry(trials[name], published) for name, published in sorted(sources.items())}


def seal(output: Path, submissions: Mapping[str, Any]) -> Publication:
    """Writes the read-me, the manifest and the checksums of all that is in the folder."""
    (output / README).write_text(_README.format(names=", ".join(sorted(submissions)), version=__version__))
    files = {
        path: {"bytes": (output / path).stat().st_size, "sha256": _sha256(output / path)} for path in _files(output)
    }
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "algoperf": __version__,
        "submissions": submissions,
        "files": files,
    }
    json.write(output / MANIFEST, manifest)
    sums = {**{path: entry["sha256"] for path, entry in files.items()}, MANIFEST: _sha256(output / MANIFEST)}
    (output / CHECKSUMS).write_text("".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items())))
    return Publication(folder=output, manifest=manifest)


def check(folder: Path) -> Publication:
    """Compares a published folder with its manifest.

    Raises:
      PublishError: a file is missing, changed, or not in the manifest; names it.
      RecordError: there is no manifest.
    """
    manifest = json.read(folder / MANIFEST)
    if manifest.get("schema_version") != SCHEMA_VERSION or not isinstance(manifest.get("files"), dict):
        raise PublishError(f"{folder / MANIFEST}: expected schema version {SCHEMA_VERSION}; install a later algoperf")
    expected, present = manifest["files"], set(_files(folder))
    wrong = [f"{path} is missing" for path in expected if path not in present]
    wrong += [f"{path} is not in the manifest" for path in sorted(present - set(expected))]
    wrong += [
        f"{path} was changed"
        for path, entry in expected.items()
        if path in present and _sha256(folder / path) != entry["sha256"]
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise PublishError(f"{folder} is not as it was published: {', '.join(wrong[:_SHOWN])}{more}")
    return Publication(folder=folder, manifest=manifest)


def _trials(results: Path) -> dict[str, list[Path]]:
    """Folders of the trials with a record, by submission."""
    if not results.is_dir():
        raise PublishError(f"{results} is no folder; name one that holds <submission>/study_<s>/...")
    trials: dict[str, list[Path]] = {}
    for record in sorted(results.glob(f"*/*/*/*/{TRIAL_FILE}")):
        trials.setdefault(record.relative_to(results).parts[0], []).append(record.parent)
    if not trials:
        raise PublishError(f"{results} holds no finished trial in <submission>/study_<s>/<workload>_<framework>/")
    return trials


def _sources(name: str, trials: Sequence[Path], submission: Path | None) -> SubmissionSources:
    records = {trial: record for trial in trials if (record := TrialRecord.read(trial)) is not None}
    named = {record.submission for record in records.values() if record.submission is not None}
    if submission is None and len(named) != 1:
        raise PublishError(f"the records of {name} name {len(named)} submissions; name the file with --submission")
    present = SubmissionSources.of(Path(submission or named.pop()).expanduser())
    for trial, record in records.items():
        if record.provenance.get("submission_digest") not in (None, present.digest):
            raise PublishError(
                f"the sources of {name} are not those that ran in {trial}; name those with --submission, or run again"
            )
    return present


def _write_run_file(trial: Path, target: Path, main: Path) -> None:
    """The settings of a trial without what belongs to this machine; the submission is the published one."""
    if not (trial / RUN_CONFIG_FILE).is_file():
        return
    file = RunFile.read(trial / RUN_CONFIG_FILE)
    settings = {name: value for name, value in file.settings.items() if name not in _LOCAL_SETTINGS}
    settings["submission_path"] = os.path.relpath(main, target)
    RunFile(settings=settings, hyperparameters=file.hyperparameters, recorded=file.recorded).write(
        target / RUN_CONFIG_FILE
    )


def _check_clean(logs: Path, results: Path) -> None:
    """Refuses logs in which a folder of this machine is named."""
    private = {str(results.resolve()).encode(), str(Path.home()).encode()} - {b"/"}
    for path in _files(logs):
        content = (logs / path).read_bytes()
        if any(name in content for name in private):
            raise PublishError(
                f"{logs / path} names a folder of this machine; remove that from the log and publish again"
            )


def _entry(trials: Sequence[Path], published: SubmissionSources) -> dict[str, Any]:
    return {
        "submission": str(published.main),
        "submission_digest": published.digest,
        "trials": len(trials),
        "workloads": sorted({trial.parent.name for trial in trials}),
    }


def _files(folder: Path) -> list[str]:
    """Paths of all files but the manifest and the checksums, relative to the folder, sorted."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if path not in (MANIFEST, CHECKSUMS))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
