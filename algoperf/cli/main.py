"""Finds the verb and hands it the rest of the command line."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from algoperf import __version__
from algoperf.cli.verbs import VERBS

_USAGE_STATUS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `algoperf VERB ...`; returns the exit status of the verb, 2 where there is no such verb."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if "_ARGCOMPLETE" in os.environ:
        _complete(os.environ.get("COMP_LINE", ""))
    if words and words[0] in VERBS:
        status: int = _module(words[0]).main(words[1:])
        return status
    if words and not words[0].startswith("-"):
        close = difflib.get_close_matches(words[0], VERBS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(VERBS)}"
        print(f"error: unknown verb {words[0]!r}; {hint}", file=sys.stderr)
        return _USAGE_STATUS
    _parser().parse_args(words or ["--help"])
    return _USAGE_STATUS


def _module(verb: str) -> ModuleType:
    return importlib.import_module(VERBS[verb].module)


def _parser(whole: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command; of the verbs, `whole` alone has its options."""
    parser = argparse.ArgumentParser(
        prog="algoperf",
        description="Time-to-result benchmark of neural network training algorithms.",
        epilog="algoperf VERB --help says more. Every verb takes --json.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, verb in VERBS.items():
        parents = [_module(name).parser()] if name == whole else []
        verbs.add_parser(name, help=verb.summary, parents=parents, add_help=False)
    return parser


def _complete(line: str) -> None:
    """Answers a shell that asks how the command line may continue, and ends the process."""
    import argcomplete

    words = line.split()
    verb = words[1] if len(words) > 1 and words[1] in VERBS else None
    argcomplete.autocomplete(_parser(verb))


if __name__ == "__main__":
    sys.exit(main())
