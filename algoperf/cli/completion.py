"""`algoperf completion`: prints what makes a shell complete this command.

For bash: eval "$(algoperf completion bash)" in ~/.bashrc; zsh and fish alike.
"""

import argparse
from collections.abc import Sequence

from algoperf.answer import Answer, add_json_option, answer_command

SHELLS = ("bash", "zsh", "fish")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf completion", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return answer_command("completion", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    from argcomplete.shell_integration import shellcode

    script = shellcode(["algoperf"], shell=options.shell)
    answer.result = {"shell": options.shell, "script": script}
    print(script)
    return 0
