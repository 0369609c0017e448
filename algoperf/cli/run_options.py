"""The options of `algoperf run` and `algoperf suite`: the settings of a run, and the file that they may come from."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algoperf.answer import add_json_option
from algoperf.runner.run_config import ConfigError
from algoperf.runner.run_file import RunFile
from algoperf.runner.settings import REQUIRED, SETTINGS, Setting, complete

_SWITCH = re.compile(r"--(?P<name>\w+)=(?P<value>\w+)")
_TRUTH = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}


def options_parser(
    verb: str, description: str, *, names: Sequence[str], left_out: Sequence[str]
) -> argparse.ArgumentParser:
    """The parser of a verb. Options have the names of the settings; what is not given is None.

    Args:
      verb: of `algoperf`.
      description: for its help.
      names: what `--workload` may be, for completion.
      left_out: settings that the verb does not take.
    """
    parser = argparse.ArgumentParser(prog=f"algoperf {verb}", description=description, allow_abbrev=False)
    add = parser.add_argument
    _complete_with(names, add("name", nargs="?", metavar="NAME", help="the same as --workload=NAME"))
    add("--config", type=Path, metavar="FILE", help="a run.toml; options go before what it says")
    for setting in SETTINGS.values():
        if setting.name not in left_out:
            _add(parser, setting, names)
    add_json_option(parser)
    return parser


def plain_switches(words: Sequence[str] | None) -> list[str]:
    """The words, by default of this process, with `--switch=true` as `--switch`, `--switch=false` as `--noswitch`."""
    return [_plain_switch(word) for word in (sys.argv[1:] if words is None else words)]


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Every setting: those of the command line, else of its `--config`, else the defaults.

    Raises:
      ConfigError: the file cannot be used, or workload or framework are missing.
    """
    file = RunFile(settings={}) if options.config is None else RunFile.read(options.config)
    given = {name: value for name, value in vars(options).items() if name in SETTINGS and value is not None}
    if options.name is not None and given.setdefault("workload", options.name) != options.name:
        raise ConfigError(f"got the workload {options.name} and --workload={given['workload']}; give one")
    values = complete({**file.settings, **given})
    if missing := [f"--{name}" for name in REQUIRED if not values[name]]:
        raise ConfigError(f"expected {' and '.join(missing)}, here or in the file of --config")
    if file.hyperparameters is not None and "tuning_search_space" not in given:
        values["hyperparameters"] = file.hyperparameters
    return values


def _plain_switch(word: str) -> str:
    match = _SWITCH.fullmatch(word)
    setting = SETTINGS.get(match["name"]) if match else None
    is_on = _TRUTH.get(match["value"].lower()) if match else None
    if setting is None or setting.kind is not bool or is_on is None:
        return word
    return f"--{'' if is_on else 'no'}{setting.name}"


def _add(parser: argparse.ArgumentParser, setting: Setting, names: Sequence[str]) -> None:
    text = setting.help.replace("%", "%%")
    if setting.default not in (None, "", False, True):
        text += f" Default: {setting.default}."
    if setting.kind is bool:
        on = argparse.SUPPRESS if setting.default else text
        off = argparse.SUPPRESS if setting.default is False else f"Not this: {text}"
        parser.add_argument(f"--{setting.name}", action="store_true", default=None, help=on)
        parser.add_argument(f"--no{setting.name}", action="store_false", dest=setting.name, help=off)
        return
    metavar = None if setting.choices else {int: "N", float: "X"}.get(setting.kind, "TEXT")
    choices = setting.choices or None
    action = parser.add_argument(f"--{setting.name}", type=setting.kind, choices=choices, metavar=metavar, help=text)
    if setting.name == "workload":
        _complete_with(names, action)


def _complete_with(names: Sequence[str], action: argparse.Action) -> None:
    """What argcomplete offers as values of an option."""
    setattr(action, "completer", lambda **_: names)  # noqa: B010 (an attribute that argparse does not declare)
