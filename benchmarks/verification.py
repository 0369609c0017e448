"""Verification of honest runs of the minis in both frameworks, and of forged ones: verdicts, and seconds of each.

  python benchmarks/verification.py [--workloads=LIST] [--frameworks=jax,pytorch] [--steps=4] [--data_dir=~/data]

Each mini is trained for a few steps and verified; then log, weights, a time and the ledger of one run in each framework
are forged and verified again. The exit status is 1 where a verdict is another than expected.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from algoperf.definition import FRAMEWORKS  # noqa: E402
from algoperf.harness.checkpoint import write_manifest  # noqa: E402
from algoperf.records.verification import Verification  # noqa: E402
from algoperf.registry import suites  # noqa: E402

_LINES = 20


def call(*words: str) -> str:
    """Runs Python; returns the last lines of what it said, and its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = done.stdout.strip().splitlines()[-_LINES:]
    return "\n".join([f"{' '.join(words[:2])} ended with exit status {done.returncode}", *said])


def train(workload: str, framework: str, options: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    """Folder of the trial, and what the run said."""
    flags = {
        "workload": workload,
        "framework": framework,
        "experiment_dir": folder,
        "experiment_name": "honest/study_0",
        "data_dir": options.data_dir.expanduser(),
        "max_global_steps": options.steps,
        "rng_seed": 7,
        "calibration": "off",
        "save_intermediate_checkpoints": True,
        "use_tensorboard": False,
    }
    said = call("submission_runner.py", *(f"--{name}={value}" for name, value in flags.items()))
    return folder / "honest/study_0" / f"{workload}_{framework}" / "trial_1", said


def verdict(trial: Path, options: argparse.Namespace) -> tuple[str, list[str]]:
    data = f"--data_dir={options.data_dir.expanduser()}"
    said = call("-m", "algoperf.verify", str(trial), data, f"--replay_steps={options.steps - 1}")
    verification = Verification.read(trial)
    if verification is None:
        return "no verdict", said.splitlines()
    return str(verification.verdict), [f"{c.name}: {c.answer} ({c.reason})" for c in verification.checks]


def _row(trial: Path, **values: float) -> None:
    path = trial / "eval_measurements.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[-1].update({name: str(value) for name, value in values.items()})
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def forge_metric(trial: Path) -> None:
    with (trial / "eval_measurements.csv").open(newline="") as stream:
        name = next(n for n in next(csv.reader(stream)) if n.startswith("validation/") and "num" not in n)
    _row(trial, **{name: 0.123})


def forge_time(trial: Path) -> None:
    _row(trial, score=0.001, accumulated_submission_time=0.001)


def forge_ledger(trial: Path) -> None:
    record = json.loads((trial / "trial.json").read_text())
    record["ledger"]["update_s"] /= 2
    (trial / "trial.json").write_text(json.dumps(record))


def forge_weights(trial: Path) -> None:
    first, *_, last = sorted(trial.glob("checkpoint_*"), key=lambda path: int(path.name.partition("_")[2]))
    shutil.rmtree(last / "state")
    shutil.copytree(first / "state", last / "state")
    write_manifest(last)


def patch_metric(trial: Path) -> None:
    """As a metric that was patched in the run leaves it: every record agrees on it, and the weights do not."""
    with (trial / "eval_measurements.csv").open(newline="") as stream:
        name = next(n for n in next(csv.reader(stream)) if n.startswith("validation/") and "num" not in n)
    _row(trial, **{name: 0.123})
    for checkpoint in trial.glob("checkpoint_*"):
        content = json.loads((checkpoint / "run.json").read_text())
        results = content["training"]["eval_results"]
        if int(checkpoint.name.partition("_")[2]) == results[-1][0]:
            results[-1][1][name] = 0.123
        (checkpoint / "run.json").write_text(json.dumps(content))
        write_manifest(checkpoint)


FORGERIES: dict[str, Callable[[Path], None]] = {
    "a metric in the log": forge_metric,
    "a time in the log": forge_time,
    "the ledger": forge_ledger,
    "the weights": forge_weights,
    "a metric in every record": patch_metric,
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default=",".join(suites()["mini"].workloads), help="comma list")
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"))
    options = parser.parse_args(argv)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for framework in options.frameworks.split(","):
            for number, workload in enumerate(options.workloads.split(",")):
                trial, said = train(workload, framework, options, Path(folder))
                begun_s = time.monotonic()
                answer, reasons = verdict(trial, options)
                print(f"{workload}, {framework}: {answer} in {time.monotonic() - begun_s:.0f} s", flush=True)
                if answer != "verified":
                    wrong += 1
                    print("".join(f"  {line}\n" for line in (*said.splitlines(), *reasons)), end="", flush=True)
                for name, forge in FORGERIES.items() if number == 0 else ():
                    if not trial.is_dir():
                        break  # the run has said why
                    copy = shutil.copytree(trial, Path(folder) / "forged" / framework / name.replace(" ", "_"))
                    forge(copy)
                    answer, reasons = verdict(copy, options)
                    print(f"{workload}, {framework}, forged {name}: {answer}", flush=True)
                    if answer != "contradicted":
                        wrong += 1
                        print("".join(f"  {reason}\n" for reason in reasons), end="", flush=True)
    print("every verdict as expected" if not wrong else f"{wrong} verdicts are not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
