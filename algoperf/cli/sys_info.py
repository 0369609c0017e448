"""`algoperf sys-info`: says what is known of this machine and of what is installed.

The same goes into the record of every trial. Environment variables are those that change speed or numerics.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.backends import base
from algoperf.definition import FRAMEWORKS
from algoperf.errors import UserError
from algoperf.records import provenance
from algoperf.records.json import plain


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf sys-info", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), help="start it and say what devices it sees")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return answer_command("sys-info", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    try:
        devices = {} if options.framework is None else _devices(options.framework)
    except UserError as error:
        return answer.fail(str(error), status=2)
    answer.result = plain(provenance.machine(devices), unknown=str)
    for name, value in _lines("", answer.result):
        print(f"{name:40s} {value}")
    return 0


def _devices(framework: str) -> Mapping[str, Any]:
    backend = base.load(framework)
    try:
        return backend.device_report()
    finally:
        backend.close()


def _lines(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every value with the names on the way to it."""
    lines: list[tuple[str, Any]] = []
    for name, value in values.items():
        lines += _lines(f"{prefix}{name}.", value) if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return lines
