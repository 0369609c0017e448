"""CPU time and memory of scoring by amount of statistics, and how they grow with the number of trials.

    python benchmarks/scoring_speed.py [--against=CHECKOUT] [--logs=FOLDER] [--parts=none,fast,full,growth]

Runs the whole command in a process of its own, least CPU time of `--repeats`. `--against` names a checkout of another
version, which scores the same logs in the same run: with its cheapest options where it has no `--statistics`.
`--logs` scores a folder of v0.5 self-tuning logs in place of simulated ones.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scoring.rules import load_rules
from scoring.simulate import simulated_field, write_logs

HERE = Path(__file__).resolve().parents[1]
EVALUATIONS = 1150  # per budget; a run stops at its target, which makes tables of 20 kB, as published ones are
WRITTEN = 6  # submissions that are simulated; others are links to them
SUBMISSIONS = 53  # of 70 trials: 3,710 trials, 71 MB
CHEAPEST = ("--bootstrap_replicates=1", "--no-report", "--no-compute_performance_profiles")
PARTS = ("none", "fast", "full", "growth")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one command. `exit_code` is not 0 where the version lacks an option."""

    cpu_s: float
    peak_mib: float
    exit_code: int


def measure(checkout: Path, logs: Path, output_dir: Path, *options: str, repeats: int = 1) -> Cost:
    """Scores `logs` with the version in `checkout`, `repeats` times; returns the cheapest."""
    command = [sys.executable, "-m", "scoring.score_submissions", f"--submission_directory={logs}", "--rules=v0.5"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    costs = []
    for _ in range(repeats):
        child = subprocess.Popen(
            [*command, f"--output_dir={output_dir}", *options],
            cwd=checkout,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu_s = usage.ru_utime + usage.ru_stime
        costs.append(Cost(cpu_s=cpu_s, peak_mib=usage.ru_maxrss / 1024, exit_code=child.returncode))
    return min(costs, key=lambda cost: cost.cpu_s)


def linked(written: Path, target: Path, count: int) -> Path:
    """A folder of `count` submissions that are links to those in `written`."""
    target.mkdir()
    sources = sorted(path.resolve() for path in written.iterdir() if path.is_dir())
    for i in range(count):
        (target / f"entry_{i:03d}").symlink_to(sources[i % len(sources)])
    return target


def size(logs: Path) -> str:
    tables = [Path(folder, name) for folder, _, names in os.walk(logs, followlinks=True) for name in names]
    sizes = [path.stat().st_size for path in tables if path.name == "eval_measurements.csv"]
    return f"{len(sizes):,} trials, {sum(sizes) / 1e6:.0f} MB of CSV"


def compare(versions: dict[str, Path], logs: Path, scratch: Path, level: str, repeats: int) -> dict[str, Cost]:
    """Prints and returns the cost for each version at one level of statistics."""
    costs = {}
    for name, checkout in versions.items():
        options: tuple[str, ...] = (f"--statistics={level}",)
        cost = measure(checkout, logs, scratch / "out", *options, repeats=repeats)
        if cost.exit_code:  # a version without the option
            options = () if level == "full" else CHEAPEST
            cost = measure(checkout, logs, scratch / "out", *options, repeats=repeats)
        if cost.exit_code:
            raise SystemExit(f"{checkout}: scoring exits with {cost.exit_code}")
        print(f"  {name}: {cost.cpu_s:.2f} s of CPU, {cost.peak_mib:.0f} MiB ({' '.join(options) or 'no options'})")
        costs[name] = cost
    if len(costs) == 2:
        print(f"  ratio after / before: {costs['after'].cpu_s / costs['before'].cpu_s:.2f}")
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, help="published v0.5 self-tuning logs instead of simulated ones")
    parser.add_argument("--against", type=Path, help="checkout of another version")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma list of {', '.join(PARTS)}")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    versions = {"before": args.against.resolve()} if args.against else {}
    versions["after"] = HERE
    parts = args.parts.split(",")
    rules = load_rules("v0.5")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        own = args.logs or scratch / "own"
        if args.logs is None:
            tuning = rules.tuning["self"]
            write_logs(own, simulated_field(rules, tuning, WRITTEN, 0), rules, tuning, evaluations=EVALUATIONS)
        once, thrice = linked(own, scratch / "once", SUBMISSIONS), linked(own, scratch / "thrice", 3 * SUBMISSIONS)
        if "none" in parts:
            print(f"scores without statistics, {size(once)}")
            compare(versions, once, scratch, "none", args.repeats)
        if "growth" in parts:
            small = measure(HERE, once, scratch / "out", "--statistics=none", repeats=args.repeats)
            large = measure(HERE, thrice, scratch / "out", "--statistics=none", repeats=args.repeats)
            print(f"three times the logs, {size(thrice)}: {large.cpu_s / small.cpu_s:.2f} times the CPU time", end="")
            print(f" ({large.cpu_s:.2f} s), {large.peak_mib:.0f} MiB")
        if {"fast", "full"} & set(parts):
            external, tuning = scratch / "external", rules.tuning["external"]
            write_logs(external, simulated_field(rules, tuning, 12, 0), rules, tuning, evaluations=44)
            for level in ("fast", "full"):
                if level in parts:
                    print(f"{level} statistics, 12 submissions, {size(external)}")
                    compare(versions, external, scratch, level, 1)


if __name__ == "__main__":
    main()
