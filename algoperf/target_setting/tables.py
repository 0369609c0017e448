"""Results of target setting for review, in Markdown, and their comparison with the definitions."""

import json
import math
import textwrap
from pathlib import Path

from algoperf.definition import MetricSpec
from algoperf.errors import UserError
from algoperf.registry import REGISTRY, Registry
from algoperf.target_setting.result import (
    ALGORITHMS,
    NEGATIVE_CONTROL_ALGORITHM,
    REFERENCE,
    Reference,
    ReferenceMissedError,
    Result,
    best_run,
    differences,
    references_of,
    runtime_of,
    shortfalls,
    targets_of,
)

_TABLES = "## Tables"


def table(result: Result, metric: MetricSpec) -> str:
    """The result for review, in Markdown."""
    tuning, seeds = result.of("tuning"), result.of("seeds")
    points = "point" if result.trials == 1 else "points"
    lines = [
        f"### {_title(result)}",
        "",
        *_paragraph(
            f"{result.trials} {points} for each of {', '.join(ALGORITHMS)}, {result.steps} steps each, in"
            f" {result.framework}; best configuration over {result.seeds} seeds;"
            f" metric {metric.name} ({metric.direction})."
        ),
        "",
        f"| algorithm | best validation value of each point ({REFERENCE}: its own configuration last) |",
        "|---|---|",
    ]
    for algorithm in ALGORITHMS:
        values = (run.best(metric) for run in tuning if run.algorithm == algorithm)
        lines.append(f"| {algorithm} | {', '.join(f'{value:.5g}' for value in values)} |")
    best = best_run(tuning, metric)
    validation, test = targets_of(seeds, metric)
    over_seeds = ", ".join(f"{run.best(metric):.5g}" for run in seeds)
    lines += [
        "",
        *_paragraph(f"Best: {best.algorithm} with `{json.dumps(best.hyperparameters)}`; over seeds {over_seeds}."),
        "",
        f"**Validation target {validation:g}, test target {'none' if test is None else f'{test:g}'}.**",
        "",
        *_negative_control_lines(result, metric),
    ]
    if not (timed := result.of("reference")):
        return "\n".join([*lines, f"**`step_hint` {result.step_hint}**, the runs are 75 % of it.", ""])
    references = references_of(timed, metric, validation)
    lines += [
        *_paragraph(f"The reference, {REFERENCE}, with `{json.dumps(timed[0].hyperparameters)}`, on {result.machine}:"),
        "",
        "| framework | seconds to target | steps | share of the step hint | evaluations before "
        "| evaluation share of wall | peak memory (GB) |",
        "|---|---|---|---|---|---|---|",
        *(_reference_row(result, reference) for reference in references),
        "",
        *_paragraph(f"Outside the limits of the tier: {'; '.join(shortfalls(result, metric)) or 'nothing'}."),
        "",
    ]
    try:
        lines += [f"**`max_runtime_s` {runtime_of(result, references)}, `step_hint` {result.step_hint}.**", ""]
    except ReferenceMissedError as error:
        lines += [f"No budget: {error}.", ""]
    return "\n".join(lines)


def _reference_row(result: Result, reference: Reference) -> str:
    runs = result.of("reference", reference.framework)
    cells = (
        reference.framework,
        ", ".join("missed" if math.isinf(time) else f"{time:.1f}" for time in reference.times_s),
        ", ".join(map(str, reference.steps)),
        ", ".join(f"{step / result.step_hint:.2f}" for step in reference.steps),
        ", ".join(map(str, reference.evaluations)),
        ", ".join(_percent(run.evaluation_share) for run in runs),
        ", ".join("unknown" if run.peak_memory_gb is None else f"{run.peak_memory_gb:.2f}" for run in runs),
    )
    return f"| {' | '.join(cells)} |"


def _title(result: Result) -> str:
    return result.workload if result.horizon == 1 else f"{result.workload} at {result.horizon} times the horizon"


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, width=120, break_long_words=False, break_on_hyphens=False)


def _negative_control_lines(result: Result, metric: MetricSpec) -> list[str]:
    lines = []
    for run in result.of("negative_control"):
        rate = f"{run.hyperparameters['learning_rate']:.2g}"
        name = NEGATIVE_CONTROL_ALGORITHM.capitalize()
        lines += [
            f"{name} with the low learning rate {rate}, the negative control, comes to {run.best(metric):.5g}.",
            "",
        ]
    return lines


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.0f} %"


def kept_results(folder: Path) -> dict[Path, Result]:
    """The results in a folder, by file.

    Raises:
      UserError: the folder has no result, or an unreadable one.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UserError(f"{folder}: expected <workload>.json files of target setting, got none")
    return {path: Result.load(path) for path in paths}


def write_tables(folder: Path, registry: Registry = REGISTRY) -> Path:
    """Writes the tables of the results in a folder into `<folder>.md`, in place of all that follows `## Tables`.

    Raises:
      UserError: the folder has no result, or an unreadable one.
    """
    page = folder.with_suffix(".md")
    text = page.read_text() if page.is_file() else "# Target setting\n"
    tables = [table(result, registry.get(result.workload).metric) for result in kept_results(folder).values()]
    page.write_text("\n".join([text.partition(_TABLES)[0].rstrip(), "", _TABLES, "", *tables]))
    return page


def check(folder: Path, registry: Registry = REGISTRY) -> list[str]:
    """Compares definitions with the results in a folder, and the tables in `<folder>.md`; a line for each difference.

    Raises:
      UserError: the folder has no result, or an unreadable one.
    """
    page = folder.with_suffix(".md")
    tables = page.read_text() if page.is_file() else ""
    problems = []
    for path, result in kept_results(folder).items():
        definition = registry.get(result.workload).at_horizon(result.horizon)
        problems += differences(result, definition)
        if table(result, definition.metric) not in tables:
            problems.append(f"{definition.name}: its table in {page} is not the one that {path} gives")
    return problems
