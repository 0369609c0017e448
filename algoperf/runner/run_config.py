"""What a person asked for, checked before anything expensive starts."""

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath
from typing import Any, Self

from algoperf.definition import EXTERNAL, FRAMEWORKS, RULESETS, Ruleset
from algoperf.edition import EDITIONS, V0_6, MatmulPrecision
from algoperf.errors import UserError
from algoperf.records.layout import study_number
from algoperf.runner.compilation_cache import AUTO

DATA_CHOICES = ("auto", "full", "mini")
SUITE_FLAGS = ("dry_run", "num_studies", "launcher", "executor", "resources", "outdated")
SINGLE_RUN_FLAGS = (
    "overwrite",
    "append_timestamp",
    "hparam_start_index",
    "hparam_end_index",
    "hyperparameters",
    "study",
    "horizon",
)
_PATHS = ("experiment_dir", "data_dir", "imagenet_v2_data_dir", "librispeech_tokenizer_vocab_path", "step_costs")
_ONE_TRIAL = {"num_tuning_trials": 1, "hparam_start_index": 0, "hparam_end_index": 1}  # what one trial may be given


class ConfigError(UserError, ValueError):
    """The flags do not make sense together; the message says what would."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One call of the runner. Fields are the settings of `algoperf.runner.settings`; see there for their meaning.

    Attributes:
      hyperparameters: the point of every trial, instead of those of a search space; None where there is none. No flag:
        it comes from a `run.toml`.
      flag_values: all settings as they were given, for the record.
    """

    workload: str
    framework: str
    submission_path: str
    experiment_dir: Path = Path("experiments")
    experiment_name: str | None = None
    tuning_ruleset: str = EXTERNAL.name
    tuning_search_space: str | None = None
    num_tuning_trials: int | None = None
    hparam_start_index: int | None = None
    hparam_end_index: int | None = None
    study: int | None = None
    data_dir: Path = field(default_factory=lambda: Path.home() / "data")
    data: str = "auto"
    horizon: int = 1
    imagenet_v2_data_dir: Path | None = None
    librispeech_tokenizer_vocab_path: Path | None = None
    torch_compile: bool | None = None
    deterministic: bool = False
    max_device_batch: int | None = None
    compilation_cache: str = AUTO
    save_checkpoints: bool = True
    save_intermediate_checkpoints: bool = False
    keep_checkpoint_at_target: bool = False
    resume_last_run: bool = False
    overwrite: bool = False
    append_timestamp: bool = False
    use_wandb: bool = False
    use_mlflow: bool = False
    use_tensorboard: bool = True
    profile: bool = False
    max_global_steps: int | None = None
    rng_seed: int | None = None
    rank_timeout_s: float = 300.0
    capture_jax_trace: bool = False
    skip_evals: bool = False
    stop_at_validation_target: bool = False
    strict_guards: bool = False
    isolated: bool = False
    calibration: str = "auto"
    step_costs: Path | None = None
    edition: str | None = None
    matmul_precision: str | None = None
    hyperparameters: Mapping[str, Any] | None = None
    flag_values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.framework not in FRAMEWORKS:
            raise ConfigError(f"--framework must be one of {', '.join(FRAMEWORKS)}, got {self.framework!r}")
        if self.tuning_ruleset not in RULESETS:
            raise ConfigError(f"--tuning_ruleset must be one of {', '.join(RULESETS)}, got {self.tuning_ruleset!r}")
        if self.data not in DATA_CHOICES:
            raise ConfigError(f"--data must be one of {', '.join(DATA_CHOICES)}, got {self.data!r}")
        if self.edition not in (None, *EDITIONS):
            raise ConfigError(f"--edition must be one of {', '.join(EDITIONS)}, got {self.edition!r}")
        if self.matmul_precision not in (None, *MatmulPrecision):
            known = ", ".join(MatmulPrecision)
            raise ConfigError(f"--matmul_precision must be one of {known}, got {self.matmul_precision!r}")
        if not self.ruleset.tunable and self.tuning_search_space is not None:
            raise ConfigError("--tuning_ruleset=self takes no --tuning_search_space; leave it out")
        if not self.ruleset.tunable and self.hyperparameters is not None:
            raise ConfigError("--tuning_ruleset=self takes no [hyperparameters]; leave them out")
        if self.num_trials < 1:
            raise ConfigError(f"--num_tuning_trials must be at least 1, got {self.num_trials}")
        if self.max_global_steps is not None and self.max_global_steps < 1:
            raise ConfigError(f"--max_global_steps must be at least 1, got {self.max_global_steps}")
        if self.study is not None and self.study < 0:
            raise ConfigError(f"--study must be 0 or more, got {self.study}")
        if self.step_costs is not None and self.calibration != "auto":
            raise ConfigError("--step_costs states what a reference step costs; leave --calibration out")
        if self.horizon < 1:
            raise ConfigError(f"--horizon must be at least 1, got {self.horizon}")
        if not self.rank_timeout_s > 0:
            raise ConfigError(f"--rank_timeout_s must be above 0, got {self.rank_timeout_s}")
        if self.isolated and not self.submission_path.endswith(".py"):
            raise ConfigError(
                f"--isolated needs the path of a .py file, since finding the module {self.submission_path} imports "
                "packages above it"
            )
        if self.isolated and self.step_costs is not None:
            raise ConfigError("--step_costs charges by the step, which --isolated leaves uncounted; leave one out")
        if self.isolated and self.capture_jax_trace:
            raise ConfigError("--capture_jax_trace sees nothing of a submission under --isolated; leave one out")
        first, last = self.trial_range
        if not 0 <= first < last <= self.num_trials:
            raise ConfigError(
                f"--hparam_start_index={first} and --hparam_end_index={last} select no trial of "
                f"--num_tuning_trials={self.num_trials}; indices count from 0 and the end is exclusive"
            )

    @property
    def compile_model(self) -> bool | None:
        """`--torch_compile`; microbatches, which would be compiled one after the other, are not by default."""
        return False if self.torch_compile is None and self.max_device_batch is not None else self.torch_compile

    @property
    def ruleset(self) -> Ruleset:
        return RULESETS[self.tuning_ruleset]

    @property
    def precision(self) -> MatmulPrecision:
        """Of matrix products and convolutions: `--matmul_precision`, else that of the edition."""
        if self.matmul_precision is None:
            return EDITIONS[self.edition or V0_6.name].matmul_precision
        return MatmulPrecision(self.matmul_precision)

    @property
    def num_trials(self) -> int:
        """Trials of a single run: one unless `--num_tuning_trials` says more. A suite asks the rules."""
        return 1 if self.num_tuning_trials is None else self.num_tuning_trials

    @property
    def study_index(self) -> int:
        """The study of the trials: `--study`, else the number at the end of `.../study_<number>`, else 0."""
        if self.study is not None:
            return self.study
        return study_number(PurePath(self.experiment_name or "").name) or 0

    @property
    def trial_range(self) -> tuple[int, int]:
        """Half-open range of trial indices (from 0) to run."""
        first = 0 if self.hparam_start_index is None else self.hparam_start_index
        last = self.num_trials if self.hparam_end_index is None else self.hparam_end_index
        return (first, last) if self.ruleset.tunable else (0, 1)

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> Self:
        """Builds the configuration from the runner's flag values by name; unknown flags are only recorded.

        An empty string means that the flag was not given, as scripts write `--tuning_search_space="$SPACE"`.
        """
        names = {f.name for f in fields(cls)}
        chosen = {name: value for name, value in values.items() if name in names and value != ""}
        if chosen.get("horizon") is None:
            chosen.pop("horizon", None)
        for name in _PATHS:
            if chosen.get(name) is not None:
                chosen[name] = Path(chosen[name]).expanduser()
        if chosen.get("submission_path") is None:
            chosen["submission_path"] = str(default_submission(values["framework"]))
        return cls(**chosen, flag_values=dict(values))


def check_flags_apply(values: Mapping[str, Any], suites: Iterable[str]) -> None:
    """Refuses flags that would be ignored: those of single runs with a suite, the reverse, several self-tuning trials.

    Raises:
      ConfigError: there is one; it is named.
    """
    names, workload = sorted(suites), values["workload"]
    instead = "a suite continues what is there; --outdated and --experiment_name say what to do with earlier results"
    for flag in SUITE_FLAGS if workload not in names else SINGLE_RUN_FLAGS:
        if values.get(flag) not in (None, "") and values[flag] is not False:
            if workload in names:
                raise ConfigError(f"--{flag} is for single runs, not for the suite {workload}; {instead}")
            raise ConfigError(f"--{flag} is for suites ({', '.join(names)}), not for {workload}; leave it out")
    if not RULESETS[values["tuning_ruleset"]].tunable:
        for flag, only in _ONE_TRIAL.items():
            if values.get(flag) not in (None, only):
                raise ConfigError(f"--{flag}={values[flag]}: --tuning_ruleset=self has one trial; leave the flag out")


def default_submission(framework: str) -> Path:
    """The reference NadamW of a framework."""
    package = importlib.util.find_spec("reference_algorithms")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("no --submission_path was given and the package reference_algorithms is not installed")
    return Path(package.submodule_search_locations[0]) / "nadamw" / f"{FRAMEWORKS[framework].package}_submission.py"
