"""The verbs of `algoperf`, each with the module behind it, which is imported when the verb is used.

A module has `parser()`, an `argparse.ArgumentParser` with the option `--json`, and `main(arguments)`, which returns the
exit status; `algoperf.answer.answer_command` makes one of a function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Verb:
    """A verb: its module, and one line on what it does."""

    module: str
    summary: str


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "run": Verb("algoperf.cli.run", "train one workload with one submission, against the clock"),
        "suite": Verb("algoperf.cli.suite", "run every workload, study and trial of a suite"),
        "prepare": Verb("algoperf.prepare", "prepare datasets, verify them, or say where they come from"),
        "compare": Verb("algoperf.compare", "decide which of two algorithms is faster, on the minis"),
        "check": Verb("algoperf.check", "check a submission against the rules: its sources, and a few steps of it"),
        "verify": Verb("algoperf.verify", "evaluate finished trials again, and take their first steps again"),
        "score": Verb("scoring.score_submissions", "score a folder of logs: leaderboard, tables, report"),
        "merge": Verb("scoring.merge", "join result folders into one"),
        "publish": Verb("algoperf.cli.publish", "make a folder of results that others can check, and send it"),
        "status": Verb("algoperf.cli.status", "say how far a suite is, from any shell"),
        "info": Verb("algoperf.cli.info", "list workloads with targets, budgets, sizes and memory needs"),
        "sys-info": Verb("algoperf.cli.sys_info", "say what is known of this machine and of what is installed"),
        "clean": Verb("algoperf.cli.clean", "remove what finished trials no longer need"),
        "completion": Verb("algoperf.cli.completion", "print what makes a shell complete this command"),
    }
)
