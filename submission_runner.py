#!/usr/bin/env python3
"""Trains one workload with one submission, against the clock.

  python submission_runner.py --workload=mnist --framework=jax

runs the reference NadamW. Every trial writes `<experiment_dir>/<experiment_name>/<workload>_<framework>/trial_<i>/`.
"""

import os
import sys
from pathlib import Path

from absl import app, flags, logging

from algoperf.runner import settings

FLAGS = flags.FLAGS

settings.define_flags(FLAGS)
flags.adopt_module_key_flags(settings)


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        print(f"error: unexpected argument {argv[1]!r}; flags are written --name=value", file=sys.stderr)
        return 2
    from algoperf.runner.command import run_command

    logging.set_verbosity(logging.WARNING)
    end = run_command(FLAGS.flag_values_dict())
    if end.has_lost_ranks:
        os._exit(1)  # leaving in order would wait for processes that are gone
    return end.status


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    app.run(main)
