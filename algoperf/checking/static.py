"""The static check: every source file of a submission is parsed, nothing of it is imported."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from algoperf.checking import code_checks, hook_checks
from algoperf.checking.findings import RuleFinding
from algoperf.checking.folder_checks import folder
from algoperf.checking.forbidden_names import forbidden_names
from algoperf.checking.source import SourceFile, line_of, parse
from algoperf.definition import FRAMEWORKS
from algoperf.submissions import sources

# The shared training step and what else of the reference algorithms a submission imports is the benchmark's own.
_BENCHMARK = Path(__file__).resolve().parents[2] / "reference_algorithms"
Check = Callable[[SourceFile], Iterable[RuleFinding]]


def eval_batch_size(source: SourceFile) -> Iterator[RuleFinding]:
    """A function that AlgoPerf asks for the batch size of evaluations."""
    function = source.functions.get("get_eval_batch_size")
    if function is not None:
        message = "it has get_eval_batch_size, which is not called"
        advice = "take it out; the benchmark fixes the batch size of evaluations"
        yield RuleFinding.of("static.eval_batch_size", message, advice, file=source.label, line=line_of(function))


CHECKS: tuple[Check, ...] = (
    forbidden_names,
    hook_checks.signatures,
    hook_checks.returns,
    hook_checks.workload_name,
    hook_checks.fingerprints,
    hook_checks.work_in_init,
    hook_checks.work_at_import,
    code_checks.patching,
    code_checks.internals,
    code_checks.interpreter,
    code_checks.files,
    code_checks.environment,
    code_checks.texts,
    code_checks.randomness,
    code_checks.global_state,
    eval_batch_size,
)


def check_sources(submission: Path) -> list[RuleFinding]:
    """Findings about a submission and the files that it imports, sorted by file and line.

    Args:
      submission: its file.

    Raises:
      OSError: the file cannot be read.
    """
    findings: list[RuleFinding] = []
    entry: SourceFile | None = None
    for label, path in sources.python_files(submission, only_imported=True).items():
        is_entry = path == submission.resolve()
        if _BENCHMARK in path.parents and not submission.resolve().is_relative_to(_BENCHMARK):
            continue
        try:
            source = parse(path, label, is_entry=is_entry)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            message = f"it cannot be parsed ({error.msg if isinstance(error, SyntaxError) else error})"
            findings.append(RuleFinding.of("static.signatures", message, "hand in valid Python", file=label, line=line))
            continue
        entry = source if is_entry else entry
        for check in CHECKS:
            findings += check(source)
    if entry is not None:
        findings += folder(entry)
    return _unique(findings)


def framework_of(submission: Path) -> str:
    """Name of the framework that the sources of a submission import; the first of the known ones where none does."""
    imported: set[str] = set()
    for path in sources.python_files(submission, only_imported=True).values():
        with contextlib.suppress(SyntaxError, ValueError):
            imported |= {name.partition(".")[0] for name in parse(path, path.name, is_entry=False).imports.values()}
    matches = [name for name, framework in FRAMEWORKS.items() if framework.package in imported]
    return matches[0] if matches else next(iter(FRAMEWORKS))


def _unique(findings: Sequence[RuleFinding]) -> list[RuleFinding]:
    """Sorted, and one for each line and check."""
    by_line = {(f.file, f.line, f.check, f.message): f for f in sorted(findings)}
    return list(by_line.values())
