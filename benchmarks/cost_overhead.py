"""Prints what measuring the cost of a run takes: of one look at the counters, and of the wall time of real runs.

python benchmarks/cost_overhead.py [TRIAL_DIR ...]

A run looks at the counters twice for each segment between evaluations, and every two seconds where there is a GPU or
a counter of energy. Given folders of trials, the share is the CPU time that their records name over their wall time.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from algoperf.harness.cost_meter import CostMeter
from algoperf.records.trial import TrialRecord

REPEATS = 200
SEGMENTS_PER_MINUTE = 2  # minis are evaluated every few tens of seconds, full workloads every few minutes
LOOKS_PER_MINUTE = 30
LIMIT = 0.001


def look_s(meter: CostMeter) -> list[float]:
    """CPU seconds of each of some looks at a boundary of the ledger."""
    seconds = []
    for number in range(REPEATS):
        begun_s = time.thread_time()
        meter.switch(number % 2 == 0, float(number))
        seconds.append(time.thread_time() - begun_s)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trial_dirs", nargs="*", type=Path)
    meter = CostMeter()
    seconds = look_s(meter)
    meter.close()
    median_s = statistics.median(seconds)
    shares = {"a minute of a run, estimated": median_s * (2 * SEGMENTS_PER_MINUTE + LOOKS_PER_MINUTE) / 60}
    print(f"one look: median {median_s * 1e6:.0f} us, largest of {REPEATS} {max(seconds) * 1e6:.0f} us of CPU time")
    for trial_dir in parser.parse_args().trial_dirs:
        record = TrialRecord.read(trial_dir)
        if record is not None and record.cost is not None:
            shares[str(trial_dir)] = record.cost.overhead_cpu_s / record.cost.seconds
    for name, share in shares.items():
        print(f"{share:8.4%} of {name}")
    return 0 if max(shares.values()) < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
