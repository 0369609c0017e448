"""Runs the trials of a suite as elements of SLURM's job arrays: submitted by submitit, or by a printed script."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.digest import digest
from algoperf.records.files import explained, replace_file
from algoperf.records.layout import SUITE_FOLDER
from algoperf.reporting import Report
from algoperf.runner.executors import scheduler
from algoperf.runner.executors.job import run_job
from algoperf.runner.executors.resources import Resources
from algoperf.runner.executors.results import duration
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial, keys
from algoperf.runner.run_config import ConfigError

_DEFAULT_ARRAY_LIMIT = 1001  # of SLURM
_SIGNAL = "USR2"
_SCRIPT = """\
#!/bin/bash
{options}

{setup}
trials=(
{trials}
)
exec srun --unbuffered {python} -u -m algoperf.runner.executors.job {folder} "${{trials[$SLURM_ARRAY_TASK_ID]}}"
"""


@dataclass(frozen=True, kw_only=True)
class JobArray:
    """Trials that ask for the same.

    Attributes:
      trials: an element each, in order.
      resources: of each.
      minutes: time limit of each.
    """

    trials: Sequence[StoredTrial]
    resources: Resources
    minutes: int


def job_arrays(suite: StoredSuite, trials: Sequence[StoredTrial], limit: int) -> Iterator[JobArray]:
    """Arrays of at most `limit` elements, each asking for one kind of resources, in the order of the trials."""
    groups: dict[str, list[StoredTrial]] = {}
    for trial in trials:
        resources = suite.resources[trial.workload]
        groups.setdefault(repr((resources, resources.minutes(trial.budget_s))), []).append(trial)
    for members in groups.values():
        resources = suite.resources[members[0].workload]
        minutes = resources.minutes(members[0].budget_s)
        for first in range(0, len(members), limit):
            yield JobArray(trials=members[first : first + limit], resources=resources, minutes=minutes)


def job_name(suite: StoredSuite) -> str:
    """A name that the jobs of this folder alone have."""
    return f"{suite.root.name}-{digest(str(suite.root))[-8:]}"


class SlurmExecutor:
    """Submits the trials and returns; `python -m algoperf.suite` says how far they are."""

    def run(self, suite: StoredSuite, trials: Sequence[StoredTrial], report: Report) -> int:
        """Submits each trial that is not in the queue; returns 0.

        Raises:
          SchedulerError: SLURM does not answer, so that nobody knows what waits.
          ConfigError: submitit is not installed, or SLURM refuses the jobs.
        """
        if not trials:
            report(f"nothing is left to run; python -m algoperf.suite collect {suite.root} scores the suite")
            return 0
        submitit = _import_submitit()
        queued = {job.job for job in scheduler.queue()}
        fresh = [trial for trial in trials if suite.jobs.get(trial.key) not in queued]
        for trial in trials:
            if trial not in fresh:
                report(f"{trial.label}: in the queue as job {suite.jobs[trial.key]}; not submitted again")
        limit = suite.site.array_limit or scheduler.array_limit() or _DEFAULT_ARRAY_LIMIT
        for array in job_arrays(suite, fresh, limit):
            jobs = self._submit(submitit, suite, array)
            suite.add_jobs(dict(zip(keys(array.trials), jobs, strict=True)))
            for trial, job in zip(array.trials, jobs, strict=True):
                report(f"{trial.label}: job {job}, at most {duration(array.minutes * 60)} at a time")
        report(f"python -m algoperf.suite status {suite.root} says how far they are")
        return 0

    def _submit(self, submitit: Any, suite: StoredSuite, array: JobArray) -> list[str]:
        executor = submitit.SlurmExecutor(folder=suite.job_folder, max_num_timeout=suite.site.max_starts)
        executor.update_parameters(**_parameters(suite, array))
        folder, names = [str(suite.root)] * len(array.trials), keys(array.trials)
        try:
            jobs = executor.map_array(_run_in_slurm, folder, names)
        except submitit.core.utils.FailedJobError as error:
            raise ConfigError(f"SLURM refuses the jobs: {str(error).splitlines()[-1]}; check --resources") from error
        return [str(job.job_id) for job in jobs]


class PrintExecutor:
    """Writes a script for sbatch for each array, for sites where nobody may submit from Python; starts nothing."""

    def run(self, suite: StoredSuite, trials: Sequence[StoredTrial], report: Report) -> int:
        limit = suite.site.array_limit or _DEFAULT_ARRAY_LIMIT
        for number, array in enumerate(job_arrays(suite, trials, limit)):
            path = suite.root / SUITE_FOLDER / f"trials_{number}.sbatch"
            with explained(path):
                suite.job_folder.mkdir(parents=True, exist_ok=True)
                replace_file(path, script(suite, array).encode())
            report(f"sbatch {shlex.quote(str(path))}    # {len(array.trials)} trials")
        report(f"python -m algoperf.suite status {suite.root} says how far they are")
        return 0


def script(suite: StoredSuite, array: JobArray) -> str:
    """The text of a script for sbatch whose array runs the trials."""
    resources, site = array.resources, suite.site
    output = suite.job_folder / "%A_%a.log"
    options: dict[str, Any] = {
        "job-name": job_name(suite),
        "array": f"0-{len(array.trials) - 1}%{site.parallel}",
        "time": array.minutes,
        "nodes": resources.nodes,
        "ntasks-per-node": 1,
        "partition": resources.partition,
        "gpus-per-node": resources.gpus,
        "cpus-per-task": resources.cores,
        "mem": resources.memory,
        "exclusive": resources.exclusive,
        "requeue": True,
        "open-mode": "append",
        "signal": f"{_SIGNAL}@{site.warning_s}",
        "output": output,
        **resources.options,
    }
    return _SCRIPT.format(
        options="\n".join(_option_lines(options)),
        setup="\n".join(_setup(suite)),
        trials="\n".join(f"  {shlex.quote(key)}" for key in keys(array.trials)),
        python=shlex.quote(sys.executable),
        folder=shlex.quote(str(suite.root)),
    )


def _option_lines(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if value is True:
            yield f"#SBATCH --{name}"
        elif value is not None and value is not False:
            yield f"#SBATCH --{name}={value}"


def _parameters(suite: StoredSuite, array: JobArray) -> dict[str, Any]:
    """The same as `script` asks for, as submitit names it."""
    resources, site = array.resources, suite.site
    given = {
        "job_name": job_name(suite),
        "array_parallelism": site.parallel,
        "time": array.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "partition": resources.partition,
        "gpus_per_node": resources.gpus,
        "cpus_per_task": resources.cores,
        "mem": resources.memory,
        "exclusive": resources.exclusive or None,
        "signal_delay_s": site.warning_s,
        "setup": _setup(suite),
        "additional_parameters": {"requeue": True, **resources.options},
    }
    return {name: value for name, value in given.items() if value is not None}


def _run_in_slurm(folder: str, key: str) -> None:
    """What submitit calls in the job, where it sees to signals no more: `run_job` does."""
    run_job(folder, key, executor="slurm")


def _import_submitit() -> Any:
    try:
        import submitit
        import submitit.core.utils
    except ImportError as error:
        raise ConfigError(
            f"--executor=slurm needs the package submitit ({error}); pip install 'algoperf[cluster]', or use "
            "--executor=print"
        ) from error
    return submitit


def _setup(suite: StoredSuite) -> list[str]:
    """What a job's shell does first. A step gets one core unless it asks for more, whatever its job was given."""
    package_root = shlex.quote(str(Path(__file__).resolve().parents[3]))
    return [
        *suite.site.setup,
        f"export PYTHONPATH={package_root}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}",
    ]
