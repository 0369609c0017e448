"""Breaks runs of real workloads in many ways, one line each: what happened, and whether that is what must happen.

  python benchmarks/faults.py [--only=TEXT] [--kills=8] [--frameworks=jax,pytorch] [--seed=0] [--list]

A fault is survived when it ends in a typed outcome or in one line, nothing that was recorded is lost, and a resumed run
equals one that was left alone. The command fails unless all are. About twenty minutes on two cores.
"""

import argparse
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from kill_and_resume import Run, endless

from algoperf.backends import base
from algoperf.definition import FRAMEWORKS
from algoperf.definition import JAX as JAX_FRAMEWORK
from algoperf.definition import PYTORCH as PYTORCH_FRAMEWORK
from algoperf.records.layout import EVALUATIONS
from algoperf.records.trial import TrialRecord
from algoperf.runner import summary
from algoperf.runner.weights import checkpoint_weights

JAX, PYTORCH = JAX_FRAMEWORK.name, PYTORCH_FRAMEWORK.name
ROOT = Path(__file__).resolve().parents[1]
RUNNER = ROOT / "submission_runner.py"
# A run of these steps takes about ten seconds and evaluates about every third of a second.
KILLED_STEPS = {"mnist_mini": {JAX: 4000, PYTORCH: 2500}, "ogbg_mini": {JAX: 150, PYTORCH: 150}}
TIMEOUT_S = 300

# A fault in a hook: the reference NadamW, with a statement that runs at step 5 of a hook, or at the import.
HOSTILE = """
import functools
import os
import sys

from reference_algorithms.nadamw import {package}_submission as honest

{at_import}
get_batch_size = honest.get_batch_size
init_optimizer_state = honest.init_optimizer_state
data_selection = honest.data_selection
prepare_for_eval = honest.prepare_for_eval
update_params = honest.update_params


@functools.wraps(honest.{hook})
def {hook}(**named):
    if named.get("global_step", 5) >= 5:
        {statement}
    return honest.{hook}(**named)
"""


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """A statement in a hook, and how the run must end: outcome, exit status, and what the recorded error names."""

    name: str
    hook: str = "update_params"
    statement: str = "pass"
    named: str = "submission.py"
    at_import: str = ""
    outcome: str = "crashed"
    status: int = 1
    framework: str | None = None


HOSTILES = (
    Hostile(name="sys.exit(0) in a step", statement="sys.exit(0)"),
    Hostile(name="sys.exit(0) in data selection", hook="data_selection", statement="sys.exit(0)"),
    Hostile(name="an exception in init_optimizer_state", hook="init_optimizer_state", statement="raise KeyError('x')"),
    Hostile(name="an exception in prepare_for_eval", hook="prepare_for_eval", statement="1 / 0"),
    Hostile(name="an exception at the import", at_import="raise RuntimeError('broken')"),
    Hostile(name="sys.exit(0) at the import", at_import="sys.exit(0)"),
    Hostile(name="a package that is missing", at_import="import not_installed_anywhere"),
    Hostile(
        name="a UserError of its own",
        statement="from algoperf.errors import UserError; raise UserError('mine')",
    ),
    Hostile(name="a BaseException of its own", statement="raise type('Odd', (BaseException,), {})('x')"),
    Hostile(name="a step that returns None", statement="return None", named="NoneType"),
    Hostile(
        name="evaluation results overwritten",
        statement="[row.update({key: 1e9 for key in row}) for _, row in named['eval_results']]",
        outcome="completed",
        status=0,
    ),
    Hostile(
        name="another model returned",
        statement="import torch; return named['optimizer_state'], torch.nn.Linear(3, 3), named['model_state']",
        framework=PYTORCH,
        named="param",
    ),
    Hostile(
        name="other parameters returned",
        statement="return named['optimizer_state'], {'w': named['rng']}, named['model_state']",
        framework=JAX,
        named="param",
    ),
    Hostile(
        name="closed standard streams",
        statement="os.close(2) if named['global_step'] == 5 else None",
        outcome="completed",
        status=0,
    ),
    Hostile(name="out of memory", statement="raise MemoryError('host')", outcome="out_of_memory"),
)


class NotSurvivedError(Exception):
    """What was seen is not what must be seen."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    name: str
    # Breaks something in the given empty folder and returns what was seen; raises NotSurvivedError.
    run: Callable[[Path], str]


def require(condition: bool, seen: str) -> None:
    if not condition:
        raise NotSurvivedError(seen)


class Trial:
    """A trial of a workload, started by the command that people type."""

    def __init__(self, folder: Path, framework: str, data_dir: Path, *flags: str, workload: str = "mnist_mini") -> None:
        self.folder = folder
        self.trial_dir = folder / "experiments" / "x" / f"{workload}_{framework}" / "trial_1"
        self.command = [
            sys.executable,
            str(RUNNER),
            f"--workload={workload}",
            f"--framework={framework}",
            "--tuning_ruleset=self",
            f"--experiment_dir={folder / 'experiments'}",
            "--experiment_name=x",
            f"--data_dir={data_dir}",
            "--rng_seed=0",
            *flags,
        ]

    def start(self, *flags: str, **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen([*self.command, *flags], stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]

    def run(self, *flags: str, **options: object) -> tuple[int, str]:
        """Exit status and standard error of a process that is left alone."""
        process = self.start(*flags, **options)
        _, errors = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, errors

    def record(self) -> TrialRecord:
        record = TrialRecord.read(self.trial_dir)
        if record is None:
            raise NotSurvivedError(f"no record in {self.trial_dir}")
        return record

    def wait_for(self, file: str, process: subprocess.Popen[str]) -> None:
        """Until the trial has written `file`; a run that ends before has failed."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (self.trial_dir / file).exists() or (self.trial_dir / file).stat().st_size == 0:
            require(process.poll() is None and time.monotonic() < deadline, f"ended before it wrote {file}")
            time.sleep(0.02)


def last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing printed)"


def one_line_error(status: int, errors: str, *named: str) -> str:
    """The line of a refused request; a traceback, or a line that does not name what it is about, is no such line."""
    line = last_line(errors)
    require(status == 2, f"exit status {status}: {line}")
    require("Traceback" not in errors and line.startswith("error: "), line)
    require(all(name in line for name in named), line)
    return line


# -- kills at random points


def kill_faults(framework: str, workload: str, options: argparse.Namespace) -> Iterator[Fault]:
    """One fault for each kill of a run, and one that compares its end with a run that was left alone."""
    settings = argparse.Namespace(
        workload=workload,
        framework=framework,
        steps=KILLED_STEPS[workload][framework],
        data_dir=options.data_dir,
    )
    shared = Path(tempfile.mkdtemp(prefix="faults-", dir=options.folder))
    points = random.Random(f"{options.seed} {framework} {workload}")
    alone, killed = Run("alone", settings, shared), Run("killed", settings, shared)
    seen: dict[str, float] = {}

    def start_up_s() -> float:
        if "start_up" not in seen:
            alone.start()
            ledger = alone.record().ledger
            seen["start_up"] = max(alone.wall_s - ledger.total_s + ledger.other_s, 0.5)
        return seen["start_up"]

    def kill(folder: Path) -> str:
        after_s = start_up_s() * points.uniform(0.5, 1.0) + points.uniform(0, 2.0)
        if killed.start(kill_after_s=after_s):
            return "the run had ended before"
        rows = killed.steps(EVALUATIONS) if (killed.trial_dir / EVALUATIONS).exists() else []
        require(all(a < b for a, b in itertools.pairwise(rows)), f"rows doubled or lost: {rows}")
        return f"killed after {after_s:.1f} s, {len(rows)} evaluations on record"

    def compare(folder: Path) -> str:
        start_up_s()
        while not killed.start():
            pass
        backend = base.load(framework)
        first, second = (checkpoint_weights(run.trial_dir, backend, endless(workload)) for run in (alone, killed))
        different = [name for name in first if not np.array_equal(first[name], second[name], equal_nan=True)]
        require(not different, f"differ from the run left alone: {different[:3]}")
        rows = killed.steps(EVALUATIONS)
        require(all(a < b for a, b in itertools.pairwise(rows)), f"rows doubled or lost: {rows}")
        return f"{killed.processes} processes, parameters bitwise equal to those of the run left alone"

    for number in range(1, options.kills + 1):
        yield Fault(name=f"kill -9, {workload}, {framework}, {number}", run=kill)
    yield Fault(name=f"resumed after kills, {workload}, {framework}", run=compare)


# -- signals


def signal_fault(framework: str, number: signal.Signals, options: argparse.Namespace) -> Fault:
    def run(folder: Path) -> str:
        trial = Trial(folder, framework, options.data_dir, "--max_global_steps=3000")
        process = trial.start(cwd=folder)
        trial.wait_for(EVALUATIONS, process)
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT_S)
        record = trial.record()
        if record.outcome != "interrupted":
            return f"{record.outcome}: the run had ended before the signal"
        steps = record.global_step
        status, errors = trial.run("--resume_last_run")
        again = trial.record()
        require(status == 0 and again.global_step >= steps, last_line(errors))
        return f"interrupted at step {steps}, resumed to {again.outcome} at step {again.global_step}"

    return Fault(name=f"{number.name}, {framework}", run=run)


def early_signal_fault(framework: str, options: argparse.Namespace) -> Fault:
    def run(folder: Path) -> str:
        trial = Trial(folder, framework, options.data_dir)
        process = trial.start()
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=TIMEOUT_S)
        require(process.returncode == 128 + signal.SIGTERM, f"exit status {process.returncode}: {last_line(errors)}")
        require("Traceback" not in errors, last_line(errors))
        return f"exit status {process.returncode}: {last_line(errors)}"

    return Fault(name=f"SIGTERM before training, {framework}", run=run)


# -- disks and stores


def full_disk_fault(framework: str, options: argparse.Namespace) -> Fault:
    """Files may not grow beyond a limit that a checkpoint exceeds, which fails as a full disk does."""

    def run(folder: Path) -> str:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))

        trial = Trial(folder, framework, options.data_dir, "--max_global_steps=400", "--use_tensorboard=False")
        status, errors = trial.run(preexec_fn=limit)
        line = one_line_error(status, errors, str(trial.trial_dir))
        status, errors = trial.run("--resume_last_run")
        require(status == 0, last_line(errors))
        return f"{line}; with room again {trial.record().outcome}"

    return Fault(name=f"disk full while saving, {framework}", run=run)


def damaged_store_fault(framework: str, how: str, options: argparse.Namespace) -> Fault:
    def run(folder: Path) -> str:
        data_dir = folder / "data"
        shutil.copytree(options.data_dir, data_dir, ignore=lambda _, names: [n for n in names if "ogbg" in n])
        file = max(
            (path for path in data_dir.rglob("*.npy") if "mnist_mini" in str(path)),
            key=lambda path: path.stat().st_size,
        )
        if how == "removed":
            file.unlink()
        elif how == "truncated":
            os.truncate(file, file.stat().st_size // 2)
        elif how == "flipped":
            with file.open("r+b") as stream:
                stream.seek(-100, os.SEEK_END)
                byte = stream.read(1)
                stream.seek(-100, os.SEEK_END)
                stream.write(bytes([byte[0] ^ 1]))
        else:
            (file.parent / "store.json").write_text("{")
        trial = Trial(folder, framework, data_dir, "--max_global_steps=20")
        status, errors = trial.run()
        if status == 0:  # generated data may be generated again, which must be said
            said = [
                line for line in errors.splitlines() if "mnist_mini" in line and ("damage" in line or "again" in line)
            ]
            require(bool(said), errors[:200])
            return f"generated again: {said[0]}"
        return one_line_error(status, errors, "mnist_mini")

    return Fault(name=f"a store whose array is {how}, {framework}", run=run)


def damaged_checkpoint_fault(framework: str, how: str, options: argparse.Namespace) -> Fault:
    def run(folder: Path) -> str:
        trial = Trial(folder, framework, options.data_dir, "--max_global_steps=3000")
        process = trial.start()
        trial.wait_for(EVALUATIONS, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)
        checkpoints = sorted(trial.trial_dir.glob("checkpoint_*"), key=lambda path: int(path.name.split("_")[1]))
        require(bool(checkpoints), "no checkpoint was saved")
        for checkpoint in checkpoints if how == "all" else checkpoints[-1:]:
            files = [path for path in checkpoint.rglob("*") if path.is_file()]
            os.truncate(max(files, key=lambda path: path.stat().st_size), 10)
        status, errors = trial.run("--resume_last_run")
        require(status == 0, last_line(errors))
        require("warning" in errors or trial.record().outcome == "reached", last_line(errors))
        return f"{len(checkpoints)} saved, {how} damaged: resumed to {trial.record().outcome}"

    return Fault(name=f"{how} checkpoints damaged, {framework}", run=run)


# -- hostile submissions


def write(hostile: Hostile, framework: str, folder: Path) -> Path:
    """Writes the submission; returns its file."""
    path = folder / "submission.py"
    path.write_text(
        HOSTILE.format(
            package=FRAMEWORKS[framework].package,
            at_import=hostile.at_import,
            hook=hostile.hook,
            statement=hostile.statement,
        )
    )
    return path


def hostile_fault(hostile: Hostile, framework: str, options: argparse.Namespace) -> Fault:
    def run(folder: Path) -> str:
        flags = (f"--submission_path={write(hostile, framework, folder)}", "--max_global_steps=40")
        trial = Trial(folder, framework, options.data_dir, *flags)
        status, _ = trial.run()
        record = trial.record()
        seen = f"{record.outcome}, exit {status}: {summary.error_line(record.error) if record.error else 'no error'}"
        require(record.outcome == hostile.outcome and status == hostile.status, seen)
        require(record.error is None or hostile.named in record.error, seen)
        return seen

    return Fault(name=f"{hostile.name}, {framework}", run=run)


# -- several processes


def two_processes_fault(framework: str, flag: str, options: argparse.Namespace) -> Fault:
    def run(folder: Path) -> str:
        slow = Hostile(name="slow", statement="__import__('time').sleep(0.05)")
        trial = Trial(folder, framework, options.data_dir, f"--submission_path={write(slow, framework, folder)}")
        first = trial.start()
        trial.wait_for(EVALUATIONS, first)
        status, errors = trial.run(flag)
        line = one_line_error(status, errors, f"process {first.pid}")
        require(first.poll() is None, f"the first run ended with {first.returncode}")
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=TIMEOUT_S)
        require(trial.record().outcome == "interrupted", f"the first run ended as {trial.record().outcome}")
        return line

    return Fault(name=f"a second process with {flag}, {framework}", run=run)


def lost_rank_fault(options: argparse.Namespace, how: signal.Signals) -> Fault:
    """Under torchrun, one of two ranks is killed or stopped."""

    def run(folder: Path) -> str:
        trial = Trial(folder, PYTORCH, options.data_dir, "--max_global_steps=100000", workload="ogbg_mini")
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        process = subprocess.Popen(
            [*launcher, *trial.command[1:], "--rank_timeout_s=20"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            trial.wait_for(EVALUATIONS, process)
            rank = _process_of_rank(process.pid, "1")
            started = time.monotonic()
            os.kill(rank, how)
            while TrialRecord.read(trial.trial_dir) is None:
                require(time.monotonic() - started < 240, "no record after 240 s")
                time.sleep(0.1)
            seconds = time.monotonic() - started
            return f"{trial.record().outcome} on record after {seconds:.1f} s: {last_line(trial.record().error or '')}"
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()  # ranks have sessions of their own, and a stopped one holds the pipe
            process.kill()
            process.communicate()

    return Fault(name=f"{how.name} of one of two ranks, {PYTORCH}", run=run)


def _process_of_rank(parent: int, rank: str) -> int:
    """The child of `parent` (or of a child of it) whose environment says that it is `rank`."""
    for child in psutil.Process(parent).children(recursive=True):
        try:
            if child.environ().get("RANK") == rank and "submission_runner" in " ".join(child.cmdline()):
                return child.pid
        except psutil.Error:
            continue
    raise NotSurvivedError(f"no process of rank {rank}")


# -- all of them


def faults(options: argparse.Namespace) -> Iterator[Fault]:
    for framework in options.frameworks:
        for hostile in HOSTILES:
            if hostile.framework in (None, framework):
                yield hostile_fault(hostile, framework, options)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            yield signal_fault(framework, number, options)
        yield early_signal_fault(framework, options)
        yield full_disk_fault(framework, options)
        for how in ("removed", "truncated", "flipped", "without a manifest"):
            yield damaged_store_fault(framework, how, options)
        for how in ("the newest", "all"):
            yield damaged_checkpoint_fault(framework, how, options)
        for flag in ("--resume_last_run", "--overwrite"):
            yield two_processes_fault(framework, flag, options)
    if PYTORCH in options.frameworks:
        yield lost_rank_fault(options, signal.SIGKILL)
        yield lost_rank_fault(options, signal.SIGSTOP)
    for framework in options.frameworks:
        for workload in KILLED_STEPS:
            yield from kill_faults(framework, workload, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="faults whose name holds this text")
    parser.add_argument("--kills", type=int, default=8, help="kills of each run, per workload and framework")
    parser.add_argument("--frameworks", type=lambda text: text.split(","), default=list(FRAMEWORKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data_dir", type=Path, default=Path("~/data").expanduser())
    parser.add_argument("--list", action="store_true", help="print the faults and stop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        options.folder = folder
        chosen = [fault for fault in faults(options) if options.only in fault.name]
        if options.list:
            print("\n".join(fault.name for fault in chosen))
            return
        survived = sum(survives(fault, Path(folder)) for fault in chosen)
    print(f"{survived} of {len(chosen)} faults survived")
    if survived < len(chosen):
        raise SystemExit(1)


def survives(fault: Fault, root: Path) -> bool:
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        seen, good = fault.run(folder), True
    except (NotSurvivedError, subprocess.TimeoutExpired, SystemExit) as error:
        seen, good = f"{type(error).__name__}: {error}", False
    print(f"{'ok   ' if good else 'FAILS'} {fault.name}: {seen}", flush=True)
    return good


if __name__ == "__main__":
    main()
