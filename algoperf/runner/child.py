"""Runs a module of this package in a clean process, and reads the JSON that it answers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.errors import UserError
from algoperf.runner.parent import child_environment

_LONGEST_REASON = 300


class ChildError(UserError):
    """A process gave no answer; one line with the last that it said."""


def ask(module: str, request: Mapping[str, Any], *, timeout_s: float | None = None) -> Any:
    """Runs `python -m <module> REQUEST ANSWER`; returns what it wrote to the file ANSWER, JSON.

    Python's search path is that of this process without the working directory, so that no file of a submission is
    imported by mistake.

    Raises:
      ChildError: the process failed, took too long, or wrote no JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**child_environment(), "PYTHONPATH": path}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", module, json.dumps(request), str(answer)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"{module} took more than {timeout_s:.0f} s") from None
        try:
            return json.loads(answer.read_text())
        except (OSError, ValueError):
            last = (done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise ChildError(last.removeprefix("error: ")[:_LONGEST_REASON]) from None
