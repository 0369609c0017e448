"""Prints the CPU seconds of `submission_runner.py --help`, and of the help of every verb of `algoperf`.

python benchmarks/start_up.py [--repeats=5]
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from algoperf.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "submission_runner.py --help": ["submission_runner.py", "--help"],
    "algoperf --help": ["-m", "algoperf", "--help"],
    **{f"algoperf {verb} --help": ["-m", "algoperf", verb, "--help"] for verb in VERBS},
}


def cpu_seconds(arguments: list[str]) -> float:
    """CPU seconds (user and system) of one Python process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for name, arguments in COMMANDS.items():
        print(f"{name:30s} {statistics.median(cpu_seconds(arguments) for _ in range(repeats)):.3f} s of CPU")


if __name__ == "__main__":
    main()
