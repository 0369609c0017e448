"""What a command answers: an exit status and, with `--json`, one object on standard output and nothing else there."""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

JSON_OPTION = "--json"
SCHEMA_VERSION = 1


@dataclass(kw_only=True)
class Answer:
    """What a command has found out, for `--json`.

    Attributes:
      verb: of `algoperf`.
      status: the exit status.
      error: one line; None where there was none.
      result: in types of strict JSON; algoperf/cli/schema.json says what each verb gives.
      is_printed: whether this process prints the object; of several processes of a run, one does.
      stream: where to; None without `--json`.
    """

    verb: str
    status: int = 0
    error: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    is_printed: bool = True
    stream: TextIO | None = None

    def fail(self, message: str, *, status: int) -> int:
        """Shows the error to a person and keeps it for `--json`; returns the exit status."""
        self.error = message
        print("\n".join(f"error: {line}" for line in message.splitlines()), file=sys.stderr)
        return status

    def print(self) -> None:
        """Prints the object, at the first call; nothing where `--json` was not given or another process prints it."""
        if self.is_printed and self.stream is not None:
            print(self.text(), file=self.stream, flush=True)
        self.stream = None

    def text(self) -> str:
        """The object on one line.

        Raises:
          ValueError, TypeError: the result is no strict JSON.
        """
        content = {
            "schema_version": SCHEMA_VERSION,
            "verb": self.verb,
            "status": self.status,
            "error": self.error,
            "result": self.result,
        }
        return json.dumps(content, allow_nan=False)


Command = Callable[[argparse.Namespace, Answer], int]


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        JSON_OPTION, action="store_true", help="print one JSON object on standard output; all else goes to stderr"
    )


def answer_command(
    verb: str, parser: argparse.ArgumentParser, arguments: Sequence[str] | None, command: Command
) -> int:
    """Parses the arguments and runs a command; returns its exit status.

    With `--json` what the command and its processes print goes to standard error, and the answer to standard output.

    Args:
      verb: of `algoperf`.
      parser: of its options.
      arguments: words after the verb; None means those of this process.
      command: fills in the answer, shows its errors and returns the exit status.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    answer = Answer(verb=verb)
    if JSON_OPTION not in words:
        return command(parser.parse_args(words), answer)
    answer.stream = _answer_stream()
    with _nothing_else_on_stdout(answer):
        options = _parsed(parser, words, answer)
        answer.status = answer.status if options is None else command(options, answer)
    return answer.status


def _parsed(parser: argparse.ArgumentParser, words: Sequence[str], answer: Answer) -> argparse.Namespace | None:
    """The options; None where they cannot be read, which the answer then says."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return parser.parse_args(words)
    except SystemExit as end:
        answer.status = int(end.code or 0)
        lines = shown.getvalue().splitlines()
        answer.error = lines[-1].partition("error: ")[2] if answer.status and lines else None
        return None
    finally:
        sys.stderr.write(shown.getvalue())


def _answer_stream() -> TextIO:
    """Standard output as it is now, whatever happens to its file descriptor afterwards."""
    try:
        return os.fdopen(os.dup(1), "w") if sys.stdout.fileno() == 1 else sys.stdout
    except (OSError, ValueError):  # no file, or closed
        return sys.stdout


@contextlib.contextmanager
def _nothing_else_on_stdout(answer: Answer) -> Iterator[None]:
    """Sends standard output to standard error within the block, that of child processes too; then prints the answer."""
    try:
        with contextlib.redirect_stdout(sys.stderr), _descriptor_sent(1, 2):
            yield
    except BaseException as error:
        answer.status, answer.error = answer.status or 1, f"{type(error).__name__}: {error}"
        raise
    finally:
        answer.print()


@contextlib.contextmanager
def _descriptor_sent(source: int, target: int) -> Iterator[None]:
    """File descriptor `source` goes where `target` goes within the block; where one is closed, nothing happens."""
    before: int | None = None
    with contextlib.suppress(OSError):
        before = os.dup(source)
        os.dup2(target, source)
    try:
        yield
    finally:
        if before is not None:
            os.dup2(before, source)
            os.close(before)
