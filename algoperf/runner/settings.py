"""The settings of a run: one table, which the flags of `submission_runner.py`, `algoperf run` and Python share."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from absl import flags

from algoperf.definition import EXTERNAL, FRAMEWORKS, RULESETS
from algoperf.edition import EDITIONS, MatmulPrecision
from algoperf.runner.compilation_cache import AUTO, CHOICES
from algoperf.runner.run_config import ConfigError

REQUIRED = ("workload", "framework")


@dataclass(frozen=True)
class Setting:
    """One setting, which is the flag of that name.

    Attributes:
      name: of the flag, and of the key in `run.toml`.
      help: what a person reads.
      default: None where nothing is chosen.
      kind: type of a value.
      choices: the values that there are; empty where any will do.
      at_least: lower bound of a number; None where there is none.
    """

    name: str
    help: str
    default: Any = None
    kind: type[Any] = str
    choices: tuple[str, ...] = ()
    at_least: int | None = None

    def checked(self, value: Any) -> Any:
        """`value` in the setting's type.

        Raises:
          ConfigError: it is of another type or out of range.
        """
        accepted: Any = {float: (int, float), str: (str, PurePath)}.get(self.kind, (self.kind,))
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.kind is not bool):
            raise ConfigError(f"{self.name} must be of type {self.kind.__name__}, got {value!r}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name} must be one of {', '.join(self.choices)}, got {value!r}")
        if self.at_least is not None and value < self.at_least:
            raise ConfigError(f"{self.name} must be at least {self.at_least}, got {value}")
        return self.kind(value)


_TABLE = (
    Setting("workload", "Workload, variant, mini or suite to run, for example wmt, wmt_mini, qualification."),
    Setting("framework", "Framework of the submission.", choices=tuple(FRAMEWORKS)),
    Setting(
        "submission_path", "The submission: a .py file anywhere on disk, or a dotted module. Default: reference NadamW."
    ),
    Setting("experiment_dir", "Root folder of results.", default="./experiments"),
    Setting("experiment_name", "Folder under experiment_dir, may contain '/'. Default: a timestamp."),
    Setting(
        "tuning_ruleset",
        "external: trials over a search space; self: one run, 1.5 x time.",
        default=EXTERNAL.name,
        choices=tuple(RULESETS),
    ),
    Setting(
        "tuning_search_space",
        "JSON search space (external ruleset). Default: search_spaces/default.json or tuning_search_space.json beside "
        "the submission; in a single run search_spaces/<workload>.json goes before them.",
    ),
    Setting(
        "num_tuning_trials",
        "Hyperparameter points to draw. Default: 1; in a suite as the rules say.",
        kind=int,
        at_least=1,
    ),
    Setting("hparam_start_index", "First point to run, from 0.", kind=int),
    Setting("hparam_end_index", "Point to stop before.", kind=int),
    Setting("study", "Study whose points are drawn. Default: the number in .../study_<number>, else 0.", kind=int),
    Setting("data_dir", "Where prepared datasets lie (minis are generated there).", default="~/data"),
    Setting(
        "data",
        "full: a missing dataset is an error; mini: always the mini; auto: the mini where the full dataset is missing.",
        default="auto",
        choices=("auto", "full", "mini"),
    ),
    Setting(
        "horizon",
        "Of minis: so many times the step hint and budget, with the targets of that length. Default: 1.",
        kind=int,
    ),
    Setting("imagenet_v2_data_dir", "Data directory of the test split, if it differs."),
    Setting("librispeech_tokenizer_vocab_path", "SentencePiece model of the speech workloads."),
    Setting(
        "torch_compile",
        "Compile model and loss where a trial compilation succeeds (PyTorch). Default: on a GPU, and not on a CPU.",
        kind=bool,
    ),
    Setting(
        "deterministic",
        "On GPUs, use kernels that give the same bits every time, where there are such; slower.",
        default=False,
        kind=bool,
    ),
    Setting(
        "max_device_batch",
        "Compute a batch in parts of at most so many examples on a device: less memory, about a third more time; "
        "gradients stay those of the batch. Not for workloads that normalise by the batch. Default: whole batches.",
        kind=int,
        at_least=1,
    ),
    Setting(
        "compilation_cache",
        "trial: a folder of the trial's own, so that compiling counts and a resumed run need not do it again; shared: "
        "one of this machine; auto: shared for single runs of minis, else the trial's own.",
        default=AUTO,
        choices=CHOICES,
    ),
    Setting(
        "save_checkpoints", "Checkpoint after every evaluation, at the end and on SIGTERM.", default=True, kind=bool
    ),
    Setting(
        "save_intermediate_checkpoints", "Keep every checkpoint instead of the newest two.", default=False, kind=bool
    ),
    Setting(
        "keep_checkpoint_at_target",
        "Also keep the checkpoint of the first evaluation on the validation target, so that it can be verified.",
        default=False,
        kind=bool,
    ),
    Setting(
        "strict_guards",
        "End a run at the first violation of a rule that a pause of the clock shows, instead of recording it.",
        default=False,
        kind=bool,
    ),
    Setting(
        "isolated",
        "Run the submission in a process of its own, without network, evaluation data and results, which is stopped in "
        "pauses (Linux with user namespaces or as root, one process).",
        default=False,
        kind=bool,
    ),
    Setting("resume_last_run", "Continue in an existing experiment folder.", default=False, kind=bool),
    Setting(
        "overwrite",
        "Delete what earlier runs of these trials wrote; wins over resume_last_run.",
        default=False,
        kind=bool,
    ),
    Setting("append_timestamp", "Append -YYYY-MM-DD-HH-MM-SS to experiment_name.", default=False, kind=bool),
    Setting("use_wandb", "Also log to Weights & Biases.", default=False, kind=bool),
    Setting("use_mlflow", "Also log to MLflow, where MLFLOW_TRACKING_URI says.", default=False, kind=bool),
    Setting("use_tensorboard", "Also write TensorBoard event files.", default=True, kind=bool),
    Setting("profile", "Print at the end where the time of each trial went.", default=False, kind=bool),
    Setting("max_global_steps", "Stop after this many steps.", kind=int, at_least=1),
    Setting("rng_seed", "Seed of everything random; 0 is a seed. Default: from the operating system.", kind=int),
    Setting(
        "rank_timeout_s",
        "With several processes: end the run when one gives no sign of life for so many seconds.",
        default=300.0,
        kind=float,
    ),
    Setting(
        "set_pytorch_max_split_size",
        "Set max_split_size_mb:256 of the CUDA allocator (PyTorch).",
        default=False,
        kind=bool,
    ),
    Setting(
        "pytorch_eval_num_workers", "Accepted for compatibility; evaluation reads ahead by itself.", default=0, kind=int
    ),
    Setting("capture_jax_trace", "Write a JAX profiler trace to <trial>/traces.", default=False, kind=bool),
    Setting(
        "stop_at_validation_target",
        "End a run when its validation target is met, without waiting for the test target; scores do not depend on it.",
        default=False,
        kind=bool,
    ),
    Setting(
        "calibration",
        "Of minis, whose budgets count reference steps. auto: measure what a step costs here, beside each trial; off: "
        "the seconds of the machine on which targets were set; or a file of known costs.",
        default="auto",
    ),
    Setting(
        "step_costs",
        "Of minis: a file of `python -m algoperf.step_cost`. Each step of the submission is charged what the file says "
        "it costs, and no time is measured, so that load does not count.",
    ),
    Setting(
        "edition",
        "Of AlgoPerf's rules: suites, budgets, evaluation periods and precision. Default: v0.6, or for a workload that "
        "it lacks the first edition that has it.",
        choices=tuple(EDITIONS),
    ),
    Setting(
        "matmul_precision",
        "Of matrix products and convolutions of float32 arrays, in both frameworks. Default: as the edition says. CPUs "
        "compute in float32 always, and NVIDIA GPUs take tf32 for bfloat16.",
        choices=tuple(MatmulPrecision),
    ),
    Setting("skip_evals", "Train without evaluating.", default=False, kind=bool),
    Setting(
        "dry_run",
        "With a suite: say what would run, how long, on how much disk space and what is missing; stop.",
        default=False,
        kind=bool,
    ),
    Setting(
        "outdated",
        "With a suite, for finished trials of another submission, workload definition or point: count them, or move "
        "them aside and run again. Default: refuse to mix.",
        choices=("keep", "rerun"),
    ),
    Setting("num_studies", "With a suite: studies to run. Default: as the ruleset says.", kind=int, at_least=1),
    Setting(
        "launcher",
        "With a suite: command before each run, for example 'torchrun --nproc_per_node=8'; 'nodes' starts a process "
        "for each GPU (PyTorch) or node (JAX) on all nodes of a job. Default: what --resources asks for needs.",
        default="",
    ),
    Setting(
        "executor",
        "With a suite: local (one run at a time; the default), local:N (N at a time, each on cores or GPUs of its "
        "own), slurm (a job for each run), or print (write scripts for sbatch and start nothing).",
    ),
    Setting("resources", "With a suite: TOML file of what each run asks of a cluster, see docs/cluster.md."),
)
SETTINGS: Mapping[str, Setting] = MappingProxyType({setting.name: setting for setting in _TABLE})


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting: those that are given and not None, checked, and the defaults of the others.

    Raises:
      ConfigError: there is no setting of a name, or a value does not fit.
    """
    for name in given:
        if name not in SETTINGS:
            close = difflib.get_close_matches(name, SETTINGS, n=2, cutoff=0.6)
            hint = f"did you mean {' or '.join(close)}?" if close else "algoperf run --help lists the settings"
            raise ConfigError(f"unknown setting {name!r}; {hint}")
    chosen = {name: SETTINGS[name].checked(value) for name, value in given.items() if value is not None}
    return {name: chosen.get(name, setting.default) for name, setting in SETTINGS.items()}


def define_flags(values: flags.FlagValues) -> None:
    """Adds the settings to `values` as flags."""
    define: dict[type, Any] = {bool: flags.DEFINE_boolean, float: flags.DEFINE_float, str: flags.DEFINE_string}
    for setting in SETTINGS.values():
        head = (setting.name, setting.default)
        if setting.choices:
            flags.DEFINE_enum(*head, list(setting.choices), setting.help, flag_values=values)
        elif setting.kind is int:
            flags.DEFINE_integer(*head, setting.help, lower_bound=setting.at_least, flag_values=values)
        else:
            define[setting.kind](*head, setting.help, flag_values=values)
    flags.mark_flags_as_required(REQUIRED, flag_values=values)
