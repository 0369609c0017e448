"""The file `run.toml` of a trial: its settings, from which `algoperf run --config=<trial>/run.toml` repeats it.

Where results go is no part of it. Relative paths in it count from the folder that the file is in.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf.records.files import explained, read_regular, replace_file
from algoperf.records.json import MAX_BYTES, plain
from algoperf.records.layout import RUN_CONFIG_FILE
from algoperf.runner.run_config import ConfigError
from algoperf.runner.settings import complete

_HYPERPARAMETERS, _RECORDED = "hyperparameters", "recorded"
_PATHS = ("data_dir", "imagenet_v2_data_dir", "librispeech_tokenizer_vocab_path", "submission_path")
_HEAD = f"# Repeats this trial in a folder of its own: algoperf run --config={RUN_CONFIG_FILE}\n"


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """What a `run.toml` holds.

    Attributes:
      settings: by name; paths are absolute.
      hyperparameters: of the trial; None under the self-tuning rules and in files that a person wrote without them.
      recorded: digests of the submission and of the workload's definition, and the version, when the trial ran.
    """

    settings: Mapping[str, Any]
    hyperparameters: Mapping[str, Any] | None = None
    recorded: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "RunFile":
        """Reads and checks a file.

        Raises:
          ConfigError: it cannot be read, is no TOML, or holds something that is no setting.
        """
        try:
            content = tomllib.loads(read_regular(path, MAX_BYTES).decode())
            point = content.pop(_HYPERPARAMETERS, None)
            point = json.loads(point) if isinstance(point, str) else point
            recorded = content.pop(_RECORDED, {})
            checked = complete(content)
        except (OSError, ValueError) as error:  # ConfigError, TOMLDecodeError and UnicodeDecodeError are ValueErrors
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"--config={path}: {reason}") from error
        if not isinstance(point, Mapping | None) or not isinstance(recorded, Mapping):
            raise ConfigError(f"--config={path}: expected [{_HYPERPARAMETERS}] and [{_RECORDED}] to be tables")
        settings = {name: _from_folder(path.parent, name, checked[name]) for name in content}
        return cls(settings=settings, hyperparameters=point, recorded=recorded)

    def write(self, path: Path) -> None:
        """Writes the file, as a whole or not at all.

        Raises:
          RecorderError: the disk is full or not writable.
        """
        import tomli_w

        content = {name: value for name, value in plain(self.settings).items() if value is not None}
        if self.hyperparameters is not None:
            point = plain(self.hyperparameters)
            content[_HYPERPARAMETERS] = json.dumps(point) if _has_null(point) else point  # TOML has no null
        if self.recorded:
            content[_RECORDED] = dict(self.recorded)
        with explained(path):
            replace_file(path, (_HEAD + tomli_w.dumps(content)).encode())


def _from_folder(folder: Path, name: str, value: Any) -> Any:
    """A relative path made absolute; a submission may be a dotted module instead."""
    if name not in _PATHS or (name == "submission_path" and not value.endswith(".py")):
        return value
    return str(folder.absolute() / Path(value).expanduser())


def _has_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(_has_null, value)))
