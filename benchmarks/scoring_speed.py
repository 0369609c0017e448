"""How long loading and scoring take, and how the time grows with the number of logs.

    python benchmarks/scoring_speed.py [--logs=FOLDER_OF_V0.5_SELF_TUNING_LOGS]

Prints seconds of wall time for: the process up to scores on about 400 trials, the same logs ten times over (both in one
process, and the ratio, in CPU time too, which other work on the machine disturbs less), and about 4,000 trials with all
statistics, tables, plots and the report.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scoring.board import make_board
from scoring.logs import read_logs
from scoring.rules import Rules, TuningRule, load_rules
from scoring.simulate import simulated_field, write_logs
from scoring.times import Mode

REPEATS = 5
EVALUATIONS = 160  # rows per trial; the published self-tuning logs have 158 on average


def load_and_score(folder: Path, rules: Rules, tuning: TuningRule) -> int:
    """Reads and scores the logs in both modes; returns the number of trials."""
    tree = read_logs(folder, rules.workloads)
    for mode in Mode:
        make_board(tree, rules, tuning, mode)
    return len(tree.trials)


def fastest(repeats: int, work: Callable[[], object]) -> tuple[float, float]:
    """Least wall time and least CPU time (s) of `work`."""
    wall_s, cpu_s = [], []
    for _ in range(repeats):
        start, before = time.perf_counter(), time.process_time()
        work()
        wall_s.append(time.perf_counter() - start)
        cpu_s.append(time.process_time() - before)
    return min(wall_s), min(cpu_s)


def everything(logs: Path, output_dir: Path, what: str) -> None:
    """Runs the whole command in a process of its own."""
    command = [sys.executable, "-m", "scoring.score_submissions", f"--submission_directory={logs}", "--rules=v0.5"]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, f"--output_dir={output_dir}"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what}, everything: {time.perf_counter() - start:.1f} s ({cpu_s:.1f} s of CPU)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, help="published v0.5 self-tuning logs instead of simulated ones")
    args = parser.parse_args()
    rules = load_rules("v0.5")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        tenfold, external = root / "tenfold", root / "external"
        own, tuning = args.logs or root / "small", rules.tuning["self"]
        if args.logs is None:
            write_logs(own, simulated_field(rules, tuning, 6, 0), rules, tuning, evaluations=EVALUATIONS)
        tenfold.mkdir()
        for submission in sorted(p for p in own.iterdir() if p.is_dir()):
            for copy in range(10):
                (tenfold / f"{submission.name}_{copy}").symlink_to(submission.resolve())
        code = f"from scoring.logs import read_logs; import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        code += (
            "from scoring_speed import load_and_score; from scoring.rules import load_rules; from pathlib import Path; "
        )
        code += f"r = load_rules('v0.5'); print(load_and_score(Path({str(own)!r}), r, r.tuning['self']))"
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        print(f"process start, load and score of {done.stdout.strip()} trials: {time.perf_counter() - start:.2f} s")
        one, one_cpu = fastest(REPEATS, lambda: load_and_score(own, rules, rules.tuning["self"]))
        ten, ten_cpu = fastest(REPEATS, lambda: load_and_score(tenfold, rules, rules.tuning["self"]))
        print(f"load and score: once {one:.2f} s, ten times the logs {ten:.2f} s", end="")
        print(f" (ratio {ten / one:.1f}; of CPU time {ten_cpu / one_cpu:.1f})")
        tuning = rules.tuning["external"]
        write_logs(external, simulated_field(rules, tuning, 12, 0), rules, tuning, evaluations=44)
        everything(external, root / "out", "4200 external trials of 12 submissions")
        everything(tenfold, root / "out", "ten times the logs, 60 submissions")


if __name__ == "__main__":
    main()
