"""Where results go, and the files of a trial: the names are made and read here alone.

A trial's folder is `<experiment_dir>/<experiment_name>/<workload>_<framework>/trial_<k>/`, as in AlgoPerf v0.6. The
studies of a submission are experiments `<submission>/study_<s>`.
"""

import datetime
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from algoperf.definition import FRAMEWORKS
from algoperf.errors import UserError
from algoperf.ownership import check_removable, remove_folder

DEFAULT_NAME = "run"
_TIMESTAMP = "%Y-%m-%d-%H-%M-%S"
_TIMESTAMP_PATTERN = r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d(-\d+)?"

LAYOUT = "<submission>/study_<s>/<workload>_<framework>/trial_<k>/"
TRIAL_FILE = "trial.json"
HYPERPARAMETERS_FILE = "hparams.json"
SEED_FILE = "seed.json"
CALIBRATION_FILE = "calibration.json"
SUBMISSION_FILE = "submission.json"
PROCESS_FILE = "process.json"
RUN_CONFIG_FILE = "run.toml"
VERIFICATION_FILE = "verification.json"
MEASUREMENTS = "measurements.csv"
EVALUATIONS = "eval_measurements.csv"
TRACES = "traces"
SUITE_FOLDER = ".suite"  # next to the studies: what a suite keeps about its jobs
EVENTS = "events"
COMPILATION = "compilation"  # compiled programs, while a trial can be resumed
_STUDY = re.compile(r"study_(\d+)")
_TRIAL = re.compile(r"trial_(\d+)")
_WORKLOAD = re.compile(rf"(?P<workload>[a-z0-9_]+)_(?P<framework>{'|'.join(FRAMEWORKS)})")
_FLAGS = re.compile(r"flags_(\d+)\.json")
_META_DATA = re.compile(r"meta_data_(\d+)\.json")
_CHECKPOINT_FILE = r"(manifest|run)\.json|state/.+"
# Every file that a run writes below the folder of a workload; `--overwrite` removes nothing else.
_RUN_FILE = re.compile(
    rf"({_TRIAL.pattern}/)?("
    r"(trial|hparams|seed|submission|process|calibration|verification)\.json|run\.toml|(flags|meta_data)_\d+\.json|"
    rf"(eval_)?measurements(\.lost-\d+)?\.csv|({TRACES}|{COMPILATION}|wandb)/.+|{EVENTS}\.out\.tfevents\.[^/]+|"
    rf"\.?checkpoint_\d+(\.partial)?/({_CHECKPOINT_FILE})|\.[^/]+\.partial|\.{_TRIAL.pattern}\.lock(\.json)?)"
)


class ExperimentError(UserError):
    """The experiment directory cannot be used; one line that says why."""


class ExperimentExistsError(ExperimentError):
    """Results are there already, and nothing says what to do with them."""


@dataclass(frozen=True, kw_only=True)
class ExperimentPaths:
    """Folders of one workload in one experiment.

    Attributes:
      experiment_dir: root of all experiments, absolute.
      experiment_name: name of the experiment; may contain `/`.
      workload_dir: folder of the workload and framework, which holds the trials.
    """

    experiment_dir: Path
    experiment_name: str
    workload_dir: Path

    def trial_dir(self, number: int) -> Path:
        """Folder of trial `number`, counted from 1. It may not exist yet."""
        if number < 1:
            raise ValueError(f"trials are counted from 1, got {number}")
        return self.workload_dir / trial_folder(number)

    def trials(self) -> list[int]:
        """Numbers of the trials that have a folder, in order."""
        numbers = (trial_number(path.name) for path in self.workload_dir.iterdir())
        return sorted(number for number in numbers if number is not None)


def study_folder(study: int) -> str:
    """Name of the folder of a study."""
    return f"study_{study}"


def study_number(name: str) -> int | None:
    """Number of the study whose folder has this name; None where it is no study's."""
    return _number(_STUDY, name)


def workload_folder(workload: str, framework: str) -> str:
    """Name of the folder of a workload in a framework."""
    return f"{workload}_{framework}"


def workload_and_framework(name: str) -> tuple[str, str] | None:
    """Workload and framework whose folder has this name; None where it is not made of both."""
    match = _WORKLOAD.fullmatch(name)
    return (match["workload"], match["framework"]) if match else None


def trial_folder(number: int) -> str:
    """Name of the folder of a trial; trials are counted from 1."""
    return f"trial_{number}"


def trial_number(name: str) -> int | None:
    """Number of the trial whose folder has this name; None where it is no trial's."""
    return _number(_TRIAL, name)


def lock_file(workload_dir: Path, number: int) -> Path:
    """File that the process which works on a trial keeps locked; next to the trial's folder, which may be deleted."""
    return workload_dir / f".{trial_folder(number)}.lock"


def lock_owner_file(workload_dir: Path, number: int) -> Path:
    """File that names the process which works on a trial."""
    return workload_dir / f".{trial_folder(number)}.lock.json"


def trial_path(study: int, workload: str, framework: str, number: int) -> PurePath:
    """Folder of a trial below the folder of a submission."""
    return PurePath(study_folder(study), workload_folder(workload, framework), trial_folder(number))


def flags_file(index: int) -> str:
    """Name of the file with the flags of a process: the first has index 0, each resumed one the next."""
    return f"flags_{index}.json"


def meta_data_file(index: int) -> str:
    """Name of the file with machine and versions of a process, counted like `flags_file`."""
    return f"meta_data_{index}.json"


def newest_flags_name(names: Iterable[str]) -> str | None:
    """Of the names in a trial's folder, that of the flags of the last process; None where there are none."""
    return _newest_name(_FLAGS, names)


def newest_meta_data_name(names: Iterable[str]) -> str | None:
    """Of the names in a trial's folder, that of machine and versions of the last process; None where there are none."""
    return _newest_name(_META_DATA, names)


def is_published_file(name: str) -> bool:
    """Whether a file of a trial is part of a published board: evaluations, hyperparameters, meta data, the record."""
    return (
        name in (EVALUATIONS, HYPERPARAMETERS_FILE, TRIAL_FILE, VERIFICATION_FILE)
        or _META_DATA.fullmatch(name) is not None
    )


def is_run_file(name: str) -> bool:
    """Whether a run writes a file of this name, a path below the folder of a workload or of a trial."""
    return _RUN_FILE.fullmatch(name) is not None


def is_checkpoint_folder(name: str) -> bool:
    """Whether a folder of this name in a trial's folder is a checkpoint, or what an interrupted write left of one."""
    return re.fullmatch(r"checkpoint_\d+|\.checkpoint_\d+\.partial", name) is not None


def is_checkpoint_file(name: str) -> bool:
    """Whether a run writes a file of this name, a path below the folder of a checkpoint."""
    return re.fullmatch(_CHECKPOINT_FILE, name) is not None


def open_experiment_dir(
    experiment_dir: str | Path,
    experiment_name: str | None,
    *,
    workload: str,
    framework: str,
    overwrite: bool = False,
    resume: bool = False,
    append_timestamp: bool = False,
    trials: Iterable[int] | None = None,
    claim: Callable[[ExperimentPaths], None] | None = None,
) -> ExperimentPaths:
    """Makes the folder of a workload in an experiment and returns the paths. Only one process may call it.

    Args:
      experiment_dir: root of all experiments; `~` is expanded.
      experiment_name: may contain `/`; None means `run` and a timestamp.
      workload, framework: of the run.
      overwrite: do not refuse what is there, which `delete_trials` deletes; goes before `resume`.
      resume: continue what is there. Where the name gets a timestamp, that is the newest experiment of this
        name, workload and framework.
      append_timestamp: append `-YYYY-MM-DD-HH-MM-SS` to the name.
      trials: numbers of the trials that will run; None means any. Others are neither in the way nor deleted, so
        that several processes can share the trials of one experiment.
      claim: called once the folder is there and before what it holds is looked at; what it raises is raised.

    Raises:
      ExperimentExistsError: results are there, and neither `overwrite` nor `resume` is set.
      ForeignFilesError: `overwrite` is set, and there are files that no run writes; nothing is deleted.
      ExperimentError: the name is unusable, or the folder cannot be written.
    """
    root = Path(os.path.abspath(Path(experiment_dir).expanduser()))
    _check_name(experiment_name)
    name = experiment_name or DEFAULT_NAME
    folder = workload_folder(workload, framework)
    if append_timestamp or not experiment_name:
        resumed = _newest(root, name, folder) if resume and not overwrite else None
        name = resumed or _fresh_name(root, name, folder)
    paths = ExperimentPaths(experiment_dir=root, experiment_name=name, workload_dir=root / name / folder)
    if os.path.exists(paths.workload_dir) and not os.path.isdir(paths.workload_dir):
        raise ExperimentError(f"{paths.workload_dir} is a file, expected a folder; move it away")
    try:
        paths.workload_dir.mkdir(parents=True, exist_ok=True)
        if claim is not None:
            claim(paths)
        taken = _taken(paths, trials)
        if overwrite:
            for path in taken:
                check_removable(path, is_run_file)
        elif taken and not resume:
            raise ExperimentExistsError(
                f"{taken[0]} exists; --resume_last_run continues it, --overwrite deletes it, "
                "another --experiment_name leaves it alone"
            )
        with tempfile.TemporaryFile(dir=paths.workload_dir) as writable:
            writable.write(b"\0")
    except OSError as error:
        raise _unwritable(paths, error) from error
    return paths


def delete_trials(paths: ExperimentPaths, trials: Iterable[int] | None = None) -> None:
    """Deletes the folders of `trials`; of the whole workload where that is None.

    Raises:
      ExperimentError: a folder cannot be deleted.
      ForeignFilesError: there are files that no run writes.
    """
    try:
        for path in _taken(paths, trials):
            remove_folder(path, is_run_file)
        paths.workload_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(paths, error) from error


def _unwritable(paths: ExperimentPaths, error: OSError) -> ExperimentError:
    too_long = error.errno == errno.ENAMETOOLONG
    return ExperimentError(
        f"cannot write {error.filename or paths.workload_dir}: {error.strerror or error}; "
        f"choose {'a shorter --experiment_name' if too_long else 'another --experiment_dir'}"
    )


def _check_name(name: str | None) -> None:
    if name is None:
        return
    parts = PurePath(name).parts
    if not parts or PurePath(name).is_absolute() or ".." in parts or "~" in parts[0] or "\0" in name:
        raise ExperimentError(
            f"--experiment_name must be a name such as 'tuned/study_0' below --experiment_dir, got {name!r}"
        )


def _taken(paths: ExperimentPaths, trials: Iterable[int] | None) -> list[Path]:
    """What is in the way of a fresh start; an empty folder is not."""
    folders = [paths.workload_dir] if trials is None else [paths.trial_dir(number) for number in sorted(trials)]
    return [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]


def _fresh_name(root: Path, name: str, folder: str) -> str:
    stamped = f"{name}-{datetime.datetime.now().strftime(_TIMESTAMP)}"
    fresh, number = stamped, 1
    while (root / fresh / folder).exists():
        number += 1
        fresh = f"{stamped}-{number}"
    return fresh


def _number(pattern: re.Pattern[str], name: str) -> int | None:
    match = pattern.fullmatch(name)
    return int(match[1]) if match else None


def _newest_name(pattern: re.Pattern[str], names: Iterable[str]) -> str | None:
    numbered = [(number, name) for name in names if (number := _number(pattern, name)) is not None]
    return max(numbered)[1] if numbered else None


def _newest(root: Path, name: str, folder: str) -> str | None:
    """The latest timestamped name under which this workload has results."""
    directory, stem = (root / name).parent, PurePath(name).name
    pattern = re.compile(rf"{re.escape(stem)}-{_TIMESTAMP_PATTERN}")
    if not directory.is_dir():
        return None
    names = [p.name for p in directory.iterdir() if pattern.fullmatch(p.name) and (p / folder).is_dir()]
    newest = max(names, key=_age_key, default=None)
    return newest and str(PurePath(name).with_name(newest))


def _age_key(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
