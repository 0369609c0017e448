"""What a suite has come to: a line for each trial, the times to target, tables and scores."""

import subprocess
import sys

from algoperf.reporting import Report
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial
from algoperf.runner.executors.trial_process import runner_file


def collect(suite: StoredSuite, report: Report) -> int:
    """Shows the times to target, scores the suite and names what is not finished.

    Returns the exit status: 0 when every trial has finished, 1 when one has not, else that of scoring.
    """
    _show_times(suite, report)
    status = _score(suite)
    report(f"tables and report: {suite.scores_dir}")
    for remark in suite.remarks:
        report(remark)
    unfinished = suite.unfinished()
    for trial in unfinished:
        record = suite.record(trial)
        outcome = record.outcome if record else "no record"
        report(f"not finished: {trial.label} ({outcome}); the same command tries it again")
    return 1 if unfinished else status


def result_line(suite: StoredSuite, trial: StoredTrial, status: int) -> str:
    record = suite.record(trial)
    if record is None:
        return f"failed with exit status {status}"
    reached = "" if record.time_to_target_s is None else f", target after {record.time_to_target_s:.1f} s"
    return f"{record.outcome} after {record.submission_time_s:.1f} s{reached}"


def duration(seconds: float) -> str:
    """Hours, minutes or seconds, for a person."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _show_times(suite: StoredSuite, report: Report) -> None:
    """One row per workload: times to target of its trials in order of study and trial."""
    report("")
    report(f"{'workload':32s} times to target (s); '-' means not reached")
    for name in suite.workloads:
        records = [suite.record(trial) for trial in suite.trials if trial.workload == name]
        times = [record and record.time_to_target_s for record in records]
        report(f"{name:32s} " + "  ".join("-" if time is None else f"{time:.1f}" for time in times))


def _score(suite: StoredSuite) -> int:
    command = [
        sys.executable,
        "-m",
        "scoring.score_submissions",
        f"--submission_directory={suite.root.parent}",
        f"--include_submissions={suite.root.name}",
        f"--rules={suite.rules}",
        f"--num_studies={suite.num_studies}",
        f"--num_trials={suite.num_trials}",
        f"--tuning_ruleset={suite.tuning_ruleset}",
        f"--output_dir={suite.scores_dir}",
    ]
    return subprocess.run(command, check=False, cwd=runner_file().parent).returncode
