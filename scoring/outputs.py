"""Writes an analysis as CSV tables, JSON and Markdown. What is written is a function of the logs and the options."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.records.best import best_index
from algoperf.records.json import dumps, plain
from algoperf.records.layout import study_folder
from scoring.analysis import Analysis
from scoring.cost_tables import cost_markdown
from scoring.csv_files import write_csv
from scoring.diagnostics import step_times
from scoring.ladder import ladder_markdown, ladder_table
from scoring.log_issues import printable
from scoring.logs import Trial
from scoring.outcomes import ending
from scoring.placement import Placement, placement_markdown, placement_table
from scoring.profiles import profile, tau_grid
from scoring.record_findings import verification_counts, verification_markdown
from scoring.scores_only import write_board_tables
from scoring.submission_info import info_markdown
from scoring.times import first_reached, own_budget_s
from scoring.validity import validity_markdown
from scoring.verdict import verdict

RESULTS_SCHEMA_VERSION = 1


def write_tables(analysis: Analysis, output_dir: Path) -> list[Path]:
    """Writes all tables below `output_dir` and returns their paths."""
    output_dir.mkdir(parents=True, exist_ok=True)
    board, names = analysis.board, analysis.board.submissions
    rows = [dataclasses.asdict(row) for row in analysis.leaderboard]
    written = [write_csv(output_dir / "scores.csv", list(rows[0]), [list(row.values()) for row in rows])]
    written += write_board_tables(board, output_dir)
    if analysis.placement is not None:
        written += _write_placement(analysis.placement, output_dir)
    if analysis.ladder is not None:
        written.append(write_csv(output_dir / "ladder.csv", *ladder_table(analysis.ladder, names)))
    if analysis.costs:
        costs = [dataclasses.asdict(row) for row in analysis.costs]
        written.append(write_csv(output_dir / "costs.csv", list(costs[0]), [list(row.values()) for row in costs]))
    for name, stem in safe_filenames(names).items():
        written.append(_write_summary(analysis, name, output_dir / f"{stem}_summary.csv"))
    results = output_dir / "results.json"
    results.write_text(dumps(results_json(analysis), indent=1), encoding="utf-8")
    leaderboard = output_dir / "leaderboard.md"
    leaderboard.write_text(leaderboard_markdown(analysis), encoding="utf-8", errors="backslashreplace")
    notes = output_dir / "notes.md"
    notes.write_text(notes_markdown(analysis), encoding="utf-8", errors="backslashreplace")
    return [*written, results, leaderboard, notes]


def _write_placement(placement: Placement, output_dir: Path) -> list[Path]:
    header, rows = placement_table(placement)
    profiles = [[row.submission, row.published, *p] for row, p in zip(placement.rows, placement.profiles, strict=True)]
    return [
        write_csv(output_dir / "against.csv", header, rows),
        write_csv(
            output_dir / "against_profiles.csv", ["submission", "published", *map(repr, placement.taus)], profiles
        ),
    ]


SUMMARY_COLUMNS = (
    "study",
    "workload",
    "trial",
    "val target metric name",
    "val target metric value",
    "val target reached",
    "best metric value on val",
    "time to best eval on val (s)",
    "time to target on val (s)",
    "step_time (s)",
    "step_hint",
    "outcome",
)


def _write_summary(analysis: Analysis, submission: str, path: Path) -> Path:
    trials = sorted(
        (t for t in analysis.tree.trials if t.submission == submission), key=lambda t: (t.workload, t.study, t.number)
    )
    return write_csv(path, SUMMARY_COLUMNS, [_summary_row(analysis, trial) for trial in trials])


def _summary_row(analysis: Analysis, trial: Trial) -> list[Any]:
    rule = analysis.board.rules.workloads[trial.workload]
    budget_s = own_budget_s(trial, rule.max_runtime_s * analysis.board.tuning.budget_factor)
    outcome = str(ending(trial, rule, budget_s).outcome)
    head = [trial.study, trial.workload, trial.number, rule.validation_column, rule.validation_target]
    best = best_index(trial.validation, rule.metric)
    if best is None:
        return [*head, False, math.nan, math.nan, math.inf, math.nan, rule.step_hint, outcome]
    first = first_reached(trial, rule)
    reached = first is not None and trial.time_s[first] <= budget_s
    rates = step_times(trial)
    return [
        *head,
        bool(reached),
        trial.validation[best],
        trial.time_s[best],
        trial.time_s[first] if reached else math.inf,
        float(np.median(rates)) if len(rates) else math.nan,
        rule.step_hint,
        outcome,
    ]


def results_json(analysis: Analysis) -> dict[str, Any]:
    """The whole analysis in plain types. null stands for what has no finite value: a miss, or nothing to tell."""
    board = analysis.board
    taus = tau_grid(board.rules.tau_max)
    return {
        "schema_version": RESULTS_SCHEMA_VERSION,
        "mode": str(board.mode),
        "verdict": verdict(analysis),
        **({"verification": counts} if (counts := verification_counts(analysis.tree)) else {}),
        "seed": analysis.seed,
        "replicates": analysis.replicates,
        "rules": _rules_json(analysis),
        "submissions": list(board.submissions),
        "leaderboard": plain(analysis.leaderboard),
        "results": plain(analysis.results),
        "times_s": plain(board.times.workload_s),
        "profile": {"taus": plain(taus), "shares": plain(profile(board.ratios, taus))},
        "separation": plain(analysis.separation),
        "head_to_head": plain(analysis.comparisons),
        "sensitivity": plain(analysis.sensitivity),
        "diagnostics": plain(analysis.diagnostics),
        "provenance": plain(analysis.provenance),
        "rule_conflicts": plain(analysis.rule_conflicts),
        "speedups": plain(analysis.speedups),
        "differences": plain(analysis.differences),
        "findings": plain(analysis.findings),
        "submission_info": plain(analysis.submission_info),
        "against": None if analysis.placement is None else plain(analysis.placement),
        "ladder": None if analysis.ladder is None else plain(analysis.ladder),
        **({"costs": plain(analysis.costs)} if analysis.costs else {}),
        "statements": list(analysis.statements),
    }


def _rules_json(analysis: Analysis) -> dict[str, Any]:
    rules, tuning = analysis.board.rules, analysis.board.tuning
    workloads = {
        name: {
            "metric": rules.workloads[name].metric.name,
            "direction": str(rules.workloads[name].metric.direction),
            "validation_target": rules.workloads[name].validation_target,
            "budget_s": rules.workloads[name].max_runtime_s * tuning.budget_factor,
            "step_hint": rules.workloads[name].step_hint,
        }
        for name in sorted({*rules.scored_workloads, *analysis.board.times.workloads})
    }
    return {
        "name": rules.name,
        "description": rules.description,
        "edition": rules.edition,
        "tuning": plain(tuning),
        "budgets": "rules" if rules.stated is None else "recorded",
        **({} if rules.clock == "seconds" else {"clock": rules.clock}),
        "base_workloads": list(rules.base_workloads),
        "held_out": dict(rules.held_out),
        "tau_max": rules.tau_max,
        "cutoff_factor": rules.cutoff_factor,
        "times_workloads": list(analysis.board.times.workloads),
        "workloads": workloads,
    }


def leaderboard_markdown(analysis: Analysis) -> str:
    """The leaderboard as a Markdown table, with what it can and cannot show."""
    board = analysis.board
    lines = [
        f"# Leaderboard, rules {markdown(board.rules.name)} ({board.tuning.name} tuning)",
        "",
        f"**{markdown(verdict(analysis))}**",
        "",
        f"Studies: {board.tuning.studies}, trials per study: {board.tuning.trials_per_study}, workloads: "
        f"{len(board.rules.base_workloads)}. Scores by {_mode_text(analysis)}{_clock_text(analysis)}. "
        "Each interval holds at 95 %; sets of ranks and tie groups hold together at 95 %. "
        "Members of different tie groups are distinguished.",
        "",
        "| rank | ranks it may have | tie group | submission | score | 95 % interval | best-of-k score | workloads |",
        "|---:|:---:|:---:|:---|---:|:---:|---:|---:|",
    ]
    for row in analysis.leaderboard:
        lines.append(
            f"| {row.rank} | {row.rank_low} to {row.rank_high} | {row.tie_group} | {markdown(row.submission)} "
            f"| {row.score:.4f} | {limits(row.score_low, row.score_high)} | {row.score_best_of_k:.4f} "
            f"| {row.workloads_solved}/{len(board.rules.base_workloads)} |"
        )
    lines += ["", "## Who is better than whom", "", *_verdicts(analysis)]
    if analysis.ladder is not None:
        lines += ["", "## The ladder of targets", "", *ladder_markdown(analysis.ladder, markdown)]
    if analysis.placement is not None:
        lines += ["", f"## On the published board {markdown(analysis.placement.board.title)}", ""]
        lines += placement_markdown(analysis.placement, markdown)
    if analysis.submission_info:
        order = [row.submission for row in analysis.leaderboard]
        lines += ["", "## Who submitted", "", *info_markdown(analysis.submission_info, order, markdown)]
    doubts = validity_markdown(analysis.findings, analysis.tree, board.rules)
    lines += ["", "## May its runs be compared?", "", *map(markdown, doubts)]
    verified = verification_markdown(analysis.tree)
    if verified:
        lines += ["", "## Verification", "", *map(markdown, verified)]
    if analysis.costs:
        lines += ["", "## What it cost", "", *cost_markdown(analysis.costs, markdown)]
    lines += ["", "## What this board can and cannot show", ""]
    lines += [f"- {statement}" for statement in analysis.statements]
    lines += ["", f"Findings and differences between scoring modes: {len(analysis.findings)} and "]
    lines[-1] += f"{len(analysis.differences)}, listed in `notes.md`."
    return "\n".join(lines) + "\n"


def _verdicts(analysis: Analysis) -> list[str]:
    """A line for each submission that is better than another beyond doubt."""
    names, better = analysis.rules_board.submissions, analysis.separation.better
    lines = []
    for row in analysis.leaderboard:
        beaten = [names[j] for j in np.flatnonzero(better[names.index(row.submission)])]
        if beaten:
            lines.append(f"- {markdown(row.submission)} is better than {', '.join(map(markdown, beaten))}.")
    return lines or ["No two submissions are distinguished."]


def notes_markdown(analysis: Analysis) -> str:
    """Findings about the logs, and every place where AlgoPerf's scorer and the written rules differ on them."""
    lines = ["# Notes", "", "## Findings about the logs", ""]
    lines += [f"- {f.severity}: {markdown(f.path)}: {markdown(f.message)}" for f in analysis.findings] or ["None."]
    lines += ["", "## Where AlgoPerf's scorer and the written rules differ on these logs", ""]
    lines += [
        f"- {d.kind}: {markdown(d.submission)}"
        + (f", {markdown(d.workload)}" if d.workload else "")
        + (f", {study_folder(d.study)}" if d.study is not None else "")
        + f": {d.algoperf:.6g} (AlgoPerf's scorer), {d.rules:.6g} (rules). {d.reason}."
        for d in analysis.differences
    ] or ["Nowhere."]
    return "\n".join(lines) + "\n"


def _clock_text(analysis: Analysis) -> str:
    """Which clock it is, where it is not seconds; files and pages then have its unit where they say s."""
    rules = analysis.board.rules
    if rules.clock == "seconds":
        return ""
    text = f", in {rules.unit} (so is what is called seconds elsewhere)"
    return f"{text}, whose uncertainty is in the intervals" if rules.clock in ("reference", "projected") else text


def _mode_text(analysis: Analysis) -> str:
    if analysis.board.mode == "rules":
        return "the written rules"
    return "AlgoPerf's scorer (intervals are those of the score by the written rules)"


def limits(low: float, high: float, digits: int = 3) -> str:
    return "not known" if math.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def markdown(text: str) -> str:
    """`text` for a Markdown table: no markup, no HTML, one line."""
    safe = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", safe)


def safe_filenames(names: Sequence[str]) -> dict[str, str]:
    """A file name for each name: harmless, and distinct even where case does not count."""
    stems: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".")[:80]
        clash = any(other != name and other.casefold() == name.casefold() for other in names)
        if stem != name or clash:
            stem = f"{stem}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        stems[name] = stem
    return stems
