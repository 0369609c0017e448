"""Scores a folder of logs and writes the leaderboard with its uncertainty.

algoperf score --submission_directory=DIR --output_dir=scoring_results [--rules=v0.6]
"""

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.definition import RULESETS, SELF_TUNING
from algoperf.errors import UserError
from algoperf.records.layout import LAYOUT
from scoring.board import Board
from scoring.board_answer import board_answer
from scoring.clocks import Clock, in_clock
from scoring.costs import Prices
from scoring.ladder import Passage
from scoring.log_issues import LogIssue, Severity, printable
from scoring.logs import LogsError, LogTree, read_logs
from scoring.provenance import recorded_edition
from scoring.published import PublishedBoard, board_names, published_board
from scoring.recorded_budgets import with_recorded_budgets
from scoring.rules import RULE_SETS, Rules, RulesError, TuningRule, load_rules
from scoring.rules.choice import fitting_rules, shipped_rules
from scoring.rules.workload_targets import rules_of_targets
from scoring.step_costs import projected_costs
from scoring.tables import FORMATS, LATEX, TablesError, board_latex, check_formats, write_tidy_tables
from scoring.times import Mode
from scoring.validity import check_one_edition

if TYPE_CHECKING:
    from scoring.analysis import Analysis

_SHOWN_FINDINGS = 20
FAST_REPLICATES = 200
_SUSTAINED_HELP = "an easier target of the ladder is passed by K of the M evaluations from the one that reaches it on"
STRICT_FAILURE, NOT_SCORED, NOT_WRITTEN = 1, 2, 3  # exit codes


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or one of the exit codes STRICT_FAILURE, NOT_SCORED and NOT_WRITTEN."""
    return answer_command("score", parser(), argv, _run)


def _run(args: argparse.Namespace, answer: Answer) -> int:
    collecting = gc.isenabled()
    gc.disable()  # hundreds of thousands of objects that all stay would be walked again and again
    try:
        return _score(args, answer)
    except (LogsError, RulesError, TablesError, UserError, ValueError) as error:
        return answer.fail(printable(str(error)), status=NOT_SCORED)
    except OSError as error:
        where = error.filename or args.output_dir
        return answer.fail(f"cannot write {printable(str(where))}: {error.strerror}", status=NOT_WRITTEN)
    finally:
        if collecting:
            gc.enable()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="algoperf score",
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    switch = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--submission_directory", required=True, help=f"holds {LAYOUT}")
    add("--output_dir", default="scoring_results", help="folder for the results; made if need be")
    add(
        "--rules",
        help=f"{', '.join(RULE_SETS)}, or a TOML file; when not given, the set that the logs fit",
    )
    add(
        "--workload_targets", help="AlgoPerf's JSON file of base workloads, held-out workloads and targets, for --rules"
    )
    add("--tuning_ruleset", choices=tuple(RULESETS), help="read from the logs when not given")
    add("--self_tuning_ruleset", action="store_true", help="the same as --tuning_ruleset=self")
    add("--against", choices=board_names(), help="place the submissions on a published board, under its rules")
    add("--submission_info", help="folder of <submission>/submission_info.yml, where the results hold none")
    add("--compat", choices=("algoperf",), help="score as AlgoPerf's scorer does, not by the written rules")
    add(
        "--budgets",
        choices=("rules", "recorded"),
        default="rules",
        help="score runs by the budgets of the rules, or by those that they recorded",
    )
    add(
        "--clock",
        choices=tuple(Clock),
        help="what minis are compared in: seconds, reference steps of each run's machine, steps, or steps times "
        "--step_costs; when not given, reference steps where every run has recorded them",
    )
    add(
        "--step_costs",
        metavar="PATHS",
        help="comma list of files <submission>.json of python -m algoperf.step_cost, or folders of them: the board "
        "that steps to target give with these costs of a step",
    )
    add("--strict", action=switch, default=False, help="exit with 1 when anything is missing or unreadable")
    add("--include_submissions", default="", help="comma list: score these alone")
    add("--exclude_submissions", default="", help="comma list: leave these out")
    add("--num_studies", type=_positive, help="instead of the rule set's number of studies")
    add("--num_trials", type=_positive, help="instead of the rule set's number of trials per study")
    add("--reference", help="submission over which speedups are given (default: baseline if there, else the best)")
    add("--ladder", action=switch, default=True, help="score the rule set's ladder of targets too, where it has one")
    add("--sustained", type=_passage, metavar="K/M", default=Passage(), help=_SUSTAINED_HELP)
    add("--prices", metavar="FILE", help="TOML table of what hours of devices and energy cost, for costs in money")
    add("--seed", type=int, default=0, help="of the bootstrap")
    add(
        "--statistics",
        choices=("none", "fast", "full"),
        default="full",
        help=f"none: scores and times alone; fast: {FAST_REPLICATES} replicates, no plots, no report",
    )
    add("--bootstrap_replicates", type=_positive, default=2000, help="boards drawn for intervals")
    add("--compute_performance_profiles", action=switch, default=True, help="plot the profiles as PNG and PDF")
    add("--save_results_to_filename", help="pickle of pandas tables in the output folder, as AlgoPerf's scorer has it")
    add(
        "--tables",
        default="",
        help=f"comma list of {', '.join(FORMATS)}: write tidy tables too, and the board in LaTeX",
    )
    add("--report", action=switch, default=True, help="write report.html")
    add_json_option(parser)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


def _passage(text: str) -> Passage:
    try:
        return Passage.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _score(args: argparse.Namespace, answer: Answer) -> int:
    formats = _names(args.tables)
    check_formats(formats)
    is_full, is_plain = args.statistics == "full", args.statistics == "none"
    if is_plain and (args.against or args.save_results_to_filename or args.submission_info):
        raise LogsError("--against, --save_results_to_filename and --submission_info need --statistics=fast or full")
    against = None if args.against is None else published_board(args.against)
    rules = _rules(args, against).with_counts(studies=args.num_studies, trials=args.num_trials)
    tree = _selected(read_logs(args.submission_directory, rules.workloads, ledger=not is_plain or bool(formats)), args)
    _check_workloads(tree, rules)
    check_one_edition(tree, rules)
    asked = SELF_TUNING.name if args.self_tuning_ruleset else args.tuning_ruleset
    tuning = _tuning_rule(tree, rules, asked or (against.tuning if against else None))
    if args.budgets == "recorded":
        tree, rules = with_recorded_budgets(tree, rules, tuning)
    costs = projected_costs(args.step_costs)
    tree, rules = in_clock(tree, rules, tuning, None if args.clock is None else Clock(args.clock), costs)
    mode = Mode.ALGOPERF if args.compat else Mode.RULES

    output_dir = Path(args.output_dir).expanduser()
    if is_plain:
        from scoring.scores_only import print_scores, score_only, write_scores

        scores = score_only(tree, rules, tuning, mode)
        written = write_scores(scores, output_dir)
        written += _write_extra_tables(tree, scores.board, {}, output_dir, formats)
        print_scores(scores)
        answer.result = board_answer(scores.board, scores.findings, written)
        return _conclude(args, scores.findings, written, output_dir)

    from scoring.analysis import analyse  # after the cheap checks: this loads SciPy
    from scoring.outputs import write_tables

    analysis = analyse(
        tree,
        rules,
        tuning,
        mode,
        seed=args.seed,
        replicates=args.bootstrap_replicates if is_full else min(FAST_REPLICATES, args.bootstrap_replicates),
        reference=args.reference,
        against=against,
        info_directory=None if args.submission_info is None else Path(args.submission_info).expanduser(),
        passage=args.sustained if args.ladder else None,
        prices=None if args.prices is None else Prices.read(Path(args.prices).expanduser()),
    )
    written = write_tables(analysis, output_dir)
    intervals = {row.submission: (row.score_low, row.score_high) for row in analysis.leaderboard}
    written += _write_extra_tables(tree, analysis.board, intervals, output_dir, formats)
    if args.compute_performance_profiles and is_full:
        from scoring.plots import plot_profiles

        written += plot_profiles(analysis.board, output_dir)
    if args.report and is_full:
        from scoring.report import write_report

        written.append(write_report(analysis, output_dir))
    if args.save_results_to_filename:
        from scoring.saved_results import save_results

        written.append(save_results(tree, rules, output_dir / Path(args.save_results_to_filename).name))
    _print_board(analysis)
    answer.result = board_answer(analysis.board, analysis.findings, written, analysis)
    return _conclude(args, analysis.findings, written, output_dir)


def _write_extra_tables(
    tree: LogTree, board: Board, intervals: Mapping[str, tuple[float, float]], output_dir: Path, formats: set[str]
) -> list[Path]:
    written = write_tidy_tables(tree, board, output_dir, formats)
    if LATEX in formats:
        written.append(output_dir / "leaderboard.tex")
        written[-1].write_text(board_latex(board, intervals), encoding="utf-8")
    return written


def _conclude(args: argparse.Namespace, findings: Sequence[LogIssue], written: list[Path], output_dir: Path) -> int:
    """Prints the issues and what was written; returns the exit code."""
    _print_issues(findings)
    print(f"wrote {len(written)} files to {printable(str(output_dir))}")
    serious = [f for f in findings if f.severity is not Severity.NOTE]
    if args.strict and serious:
        print(f"strict: {len(serious)} findings are more than notes", file=sys.stderr)
        return STRICT_FAILURE
    return 0


def _rules(args: argparse.Namespace, against: PublishedBoard | None) -> Rules:
    """The rule set asked for, or that of the published board, or else the shipped one that the logs fit."""
    if args.workload_targets is not None:
        return rules_of_targets(Path(args.workload_targets).expanduser(), args.rules)
    if args.rules is not None or against is not None:
        return load_rules(args.rules or (against.rules if against else ""))
    shipped = shipped_rules()
    known = {name: rule for rules in shipped.values() for name, rule in rules.workloads.items()}
    tree = _selected(read_logs(args.submission_directory, known, ledger=False), args)
    editions = {edition for t in tree.trials if (edition := recorded_edition(t)) is not None}
    rules = fitting_rules({t.workload for t in tree.trials}, shipped, editions)
    print(f"rule set {rules.name}, the one whose workloads are those of the logs; --rules chooses another")
    return rules


def _selected(tree: LogTree, args: argparse.Namespace) -> LogTree:
    included, excluded = _names(args.include_submissions), _names(args.exclude_submissions)
    unknown = (included | excluded) - set(tree.submissions)
    if unknown:
        raise LogsError(f"no logs of {', '.join(sorted(unknown))}; there are {', '.join(tree.submissions)}")
    return tree.keeping((included or set(tree.submissions)) - excluded, only_asked_for=bool(included))


def _names(text: str) -> set[str]:
    return {name.strip() for name in text.split(",") if name.strip()}


def _check_workloads(tree: LogTree, rules: Rules) -> None:
    present = {t.workload for t in tree.trials}
    if not present & set(rules.scored_workloads):
        unknown = [f.path for f in tree.findings if f.code == "unknown_workload"]
        seen = ", ".join(sorted(present)) or ", ".join(unknown[:5]) or "nothing"
        raise LogsError(
            f"no logs of any workload of the rule set {rules.name!r}; found {seen}. Choose another with --rules"
        )


def _tuning_rule(tree: LogTree, rules: Rules, asked: str | None) -> TuningRule:
    """The tuning ruleset asked for, or else the one that the runs' flags name."""
    if asked:
        return rules.tuning[asked]
    named: Counter[str] = Counter()
    for submission in tree.submissions:
        first = next((t for t in tree.trials if t.submission == submission), None)
        if first is not None:
            stated = first.record.ruleset if first.record else first.flags.get("tuning_ruleset")
            named[str(stated or "unknown")] += 1
    known = [name for name in named if name in rules.tuning]
    if len(known) != 1:
        raise LogsError(
            "the logs do not name one tuning ruleset "
            f"(found {', '.join(sorted(named)) or 'none'}); say --tuning_ruleset=external or self"
        )
    return rules.tuning[known[0]]


def _print_board(analysis: "Analysis") -> None:
    from scoring.outputs import limits
    from scoring.verdict import verdict

    print(printable(verdict(analysis)))
    board = analysis.board
    print(board.title)
    width = max(len("submission"), *(len(printable(r.submission)) for r in analysis.leaderboard))
    print(f"{'rank':>4}  {'ranks':>7}  {'tie':>3}  {'submission':<{width}}  {'score':>7}  95 % interval")
    for row in analysis.leaderboard:
        ranks = f"{row.rank_low}-{row.rank_high}"
        interval = limits(row.score_low, row.score_high)
        name = printable(row.submission)
        print(f"{row.rank:>4}  {ranks:>7}  {row.tie_group:>3}  {name:<{width}}  {row.score:7.4f}  {interval}")
    if analysis.ladder is not None:
        from scoring.ladder import ladder_text

        print("\n".join(ladder_text(analysis.ladder)))
    if analysis.placement is not None:
        from scoring.placement import placement_text

        print("\n".join(placement_text(analysis.placement)))


def _print_issues(findings: Sequence[LogIssue]) -> None:
    serious = [f for f in findings if f.severity is not Severity.NOTE]
    serious.sort(key=lambda issue: issue.severity is not Severity.ERROR)
    for issue in serious[:_SHOWN_FINDINGS]:
        print(issue, file=sys.stderr)
    if len(serious) > _SHOWN_FINDINGS:
        print(f"... and {len(serious) - _SHOWN_FINDINGS} more; all are in notes.md", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
