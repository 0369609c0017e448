#!/usr/bin/env python3
"""Trains one workload with one submission, against the clock.

  python submission_runner.py --workload=mnist --framework=jax

runs the reference NadamW. Every trial writes `<experiment_dir>/<experiment_name>/<workload>_<framework>/trial_<i>/`.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags, logging

from algoperf.definition import EXTERNAL, FRAMEWORKS, RULESETS
from algoperf.edition import MatmulPrecision

if TYPE_CHECKING:
    from algoperf.harness.signals import StopSignals
    from algoperf.runner.run_config import RunConfig

FLAGS = flags.FLAGS
_INTERRUPTED_EXIT_CODE = 128 + 15

flags.DEFINE_string(
    "workload", None, "Workload, variant, mini or suite to run, for example wmt, wmt_mini, qualification."
)
flags.DEFINE_enum("framework", None, list(FRAMEWORKS), "Framework of the submission.")
flags.DEFINE_string(
    "submission_path",
    None,
    "The submission: a .py file anywhere on disk, or a dotted module. Default: reference NadamW.",
)
flags.DEFINE_string("experiment_dir", "./experiments", "Root folder of results.")
flags.DEFINE_string("experiment_name", None, "Folder under experiment_dir, may contain '/'. Default: a timestamp.")
flags.DEFINE_enum(
    "tuning_ruleset",
    EXTERNAL.name,
    list(RULESETS),
    "external: trials over a search space; self: one run, 1.5 x time.",
)
flags.DEFINE_string(
    "tuning_search_space",
    None,
    "JSON search space (external ruleset). Default: search_spaces/default.json or tuning_search_space.json beside the "
    "submission; in a single run search_spaces/<workload>.json goes before them.",
)
flags.DEFINE_integer(
    "num_tuning_trials", None, "Hyperparameter points to draw. Default: 1; in a suite as the rules say.", lower_bound=1
)
flags.DEFINE_integer("hparam_start_index", None, "First point to run, from 0.")
flags.DEFINE_integer("hparam_end_index", None, "Point to stop before.")
flags.DEFINE_integer("study", None, "Study whose points are drawn. Default: the number in .../study_<number>, else 0.")
flags.DEFINE_string("data_dir", "~/data", "Where prepared datasets lie (minis are generated there).")
flags.DEFINE_enum(
    "data",
    "auto",
    ["auto", "full", "mini"],
    "full: a missing dataset is an error; mini: always the mini; auto: the mini where the full dataset is missing.",
)
flags.DEFINE_string("imagenet_v2_data_dir", None, "Data directory of the test split, if it differs.")
flags.DEFINE_string("librispeech_tokenizer_vocab_path", None, "SentencePiece model of the speech workloads.")
flags.DEFINE_boolean(
    "torch_compile",
    None,
    "Compile model and loss where a trial compilation succeeds (PyTorch). Default: on a GPU, and not on a CPU.",
)
flags.DEFINE_boolean(
    "deterministic", False, "On GPUs, use kernels that give the same bits every time, where there are such; slower."
)
flags.DEFINE_boolean("save_checkpoints", True, "Checkpoint after every evaluation, at the end and on SIGTERM.")
flags.DEFINE_boolean("save_intermediate_checkpoints", False, "Keep every checkpoint instead of the newest two.")
flags.DEFINE_boolean("resume_last_run", False, "Continue in an existing experiment folder.")
flags.DEFINE_boolean("overwrite", False, "Delete what earlier runs of these trials wrote; wins over resume_last_run.")
flags.DEFINE_boolean("append_timestamp", False, "Append -YYYY-MM-DD-HH-MM-SS to experiment_name.")
flags.DEFINE_boolean("use_wandb", False, "Also log to Weights & Biases.")
flags.DEFINE_boolean("use_tensorboard", True, "Also write TensorBoard event files.")
flags.DEFINE_boolean("profile", False, "Print at the end where the time of each trial went.")
flags.DEFINE_integer("max_global_steps", None, "Stop after this many steps.", lower_bound=1)
flags.DEFINE_integer("rng_seed", None, "Seed of everything random; 0 is a seed. Default: from the operating system.")
flags.DEFINE_float(
    "rank_timeout_s", 300.0, "With several processes: end the run when one gives no sign of life for so many seconds."
)
flags.DEFINE_boolean("set_pytorch_max_split_size", False, "Set max_split_size_mb:256 of the CUDA allocator (PyTorch).")
flags.DEFINE_integer("pytorch_eval_num_workers", 0, "Accepted for compatibility; evaluation reads ahead by itself.")
flags.DEFINE_boolean("capture_jax_trace", False, "Write a JAX profiler trace to <trial>/traces.")
flags.DEFINE_boolean(
    "stop_at_validation_target",
    False,
    "End a run when its validation target is met, without waiting for the test target; scores do not depend on it.",
)
flags.DEFINE_string(
    "calibration",
    "auto",
    "Of minis, whose budgets count reference steps. auto: measure what a step costs here, beside each trial; off: the "
    "seconds of the machine on which targets were set; or a file of known costs.",
)
flags.DEFINE_enum(
    "matmul_precision",
    None,
    list(MatmulPrecision),
    "Of matrix products and convolutions of float32 arrays, in both frameworks. Default: as the edition says. CPUs "
    "compute in float32 always, and NVIDIA GPUs take tf32 for bfloat16.",
)
flags.DEFINE_boolean("skip_evals", False, "Train without evaluating.")
flags.DEFINE_boolean(
    "dry_run", False, "With a suite: say what would run, how long, on how much disk space and what is missing; stop."
)
flags.DEFINE_enum(
    "outdated",
    None,
    ["keep", "rerun"],
    "With a suite, for finished trials of another submission, workload definition or point: count them, or move them "
    "aside and run again. Default: refuse to mix.",
)
flags.DEFINE_integer("num_studies", None, "With a suite: studies to run. Default: as the ruleset says.", lower_bound=1)
flags.DEFINE_string("launcher", "", "With a suite: command before each run, for example 'torchrun --nproc_per_node=8'.")
flags.mark_flags_as_required(["workload", "framework"])


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        print(f"error: unexpected argument {argv[1]!r}; flags are written --name=value", file=sys.stderr)
        return 2
    from algoperf import reporting
    from algoperf.errors import UserError
    from algoperf.harness.signals import StopRequestedError, StopSignals
    from algoperf.runner.parent import end_with_suite

    reporting.guard_standard_streams()
    end_with_suite()
    try:
        with StopSignals() as stop:
            return _run(stop)
    except UserError as error:
        reporting.report_to_stderr(f"error: {error}")
        return 2
    except (StopRequestedError, KeyboardInterrupt) as request:
        reporting.report_to_stderr(f"stopped by {request or 'SIGINT'} while no trial was running")
        return _INTERRUPTED_EXIT_CODE


def _run(stop: "StopSignals") -> int:
    from algoperf.registry import suites
    from algoperf.runner import summary
    from algoperf.runner.run_config import RunConfig, check_flags_apply

    logging.set_verbosity(logging.WARNING)
    if FLAGS.set_pytorch_max_split_size:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:256")
    values = FLAGS.flag_values_dict()
    config = RunConfig.from_flags(values)
    check_flags_apply(values, suites())
    if values["workload"] in suites():
        return _run_suite(config, values)
    from algoperf.runner import driver

    results = driver.run(config, stop=stop)
    with stop.deferred():
        summary.show(results, ledger=config.profile)
        if any(result.has_lost_ranks for result in results):
            os._exit(1)  # leaving in order would wait for processes that are gone
    if any(result.outcome == "interrupted" for result in results):
        return _INTERRUPTED_EXIT_CODE
    return 1 if any(result.outcome.is_failure for result in results) else 0


def _run_suite(config: "RunConfig", values: dict[str, Any]) -> int:
    from algoperf.reporting import report_to_stderr
    from algoperf.runner.run_config import ConfigError
    from algoperf.runner.suite import SuiteRun
    from algoperf.runner.suite_plan import Outdated, choose_suite

    dry_run = values["dry_run"]
    try:
        launcher = shlex.split(values["launcher"])
    except ValueError as error:
        raise ConfigError(f"--launcher={values['launcher']}: {error}; expected words as in a shell") from error
    run = SuiteRun(
        choose_suite(config.workload, config, report_to_stderr, is_dry_run=dry_run),
        config,
        num_studies=values["num_studies"],
        launcher=launcher,
        outdated=values["outdated"] and Outdated(values["outdated"]),
        report=report_to_stderr,
    )
    if dry_run:
        run.show_plan()
        return 0
    return run.run()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    app.run(main)
