"""Whether a board puts submissions in the order of a published one: Kendall's tau and pairs, with their uncertainty.

python -m scoring.agreement BOARD --with=algoperf-v1.0-self [--rules=mini-2026-11] [--matches=FILE]
"""

import argparse
import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from algoperf.errors import UserError
from scoring.log_issues import printable
from scoring.logs import LogsError, read_logs
from scoring.published import PublishedBoard, PublishedBoardError, board_names, published_board
from scoring.rules import RulesError, load_rules
from scoring.score_tables import AgreementError, ScoreTable, published_tables, tables_of_logs, tables_of_results
from scoring.statistics.bootstrap import LEVEL
from scoring.statistics.rank_correlation import chance_of_as_high_a_tau, kendall_tau, pair_signs
from scoring.step_costs import projected_costs

DEFAULT_REPLICATES = 2000
_MATCHES = "agreement.toml"


@dataclass(frozen=True, kw_only=True)
class BoardAgreement:
    """How far two scores of the same entrants agree.

    Attributes:
      tau, low, high: Kendall's tau-b, and 95 % limits over drawn studies of the sides whose spread is known; NaN where
        one side is all ties.
      chance, chance_low: share of all orders that agree as well, and that agree as badly.
      pairs, agreeing: pairs of entrants, and those in the same order on both sides.
      resolved, resolved_agreeing: the same of the pairs that the first board tells apart; None where it is not known.
    """

    first: str
    second: str
    tau: float
    low: float
    high: float
    chance: float
    chance_low: float
    pairs: int
    agreeing: int
    resolved: int | None
    resolved_agreeing: int | None

    @property
    def shown(self) -> bool:
        """Whether the order of one predicts that of the other, beyond chance and the noise of both."""
        return bool(self.low > 0 and self.chance <= 1 - LEVEL)

    @property
    def contradicted(self) -> bool:
        """Whether the order of one predicts the reverse of the other, beyond chance and the noise of both."""
        return bool(self.high < 0 and self.chance_low <= 1 - LEVEL)


def board_agreement(ours: ScoreTable, theirs: ScoreTable, *, seed: int = 0) -> BoardAgreement:
    """Compares two scores of the same entrants, in the same order of rows.

    Raises:
      AgreementError: fewer than two entrants.
    """
    if len(ours.scores) < 2 or len(ours.scores) != len(theirs.scores):
        raise AgreementError(f"expected the same two entrants or more, got {ours.submissions}, {theirs.submissions}")
    first = ours.scores[None] if ours.draws is None else ours.draws
    second = theirs.scores[None] if theirs.draws is None else theirs.draws
    if len(first) > 1 < len(second):  # the two were drawn by themselves
        count = min(len(first), len(second))
        first, second = first[:count], np.random.default_rng(seed).permutation(second)[:count]
    tau = float(kendall_tau(ours.scores, theirs.scores))
    drawn = kendall_tau(first, second)
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]) if len(drawn) else (np.nan, np.nan)
    same = pair_signs(ours.scores) * pair_signs(theirs.scores) > 0
    resolved = None if ours.better is None else (ours.better | ours.better.T)[np.triu_indices(len(ours.scores), 1)]
    return BoardAgreement(
        first=ours.name,
        second=theirs.name,
        tau=tau,
        low=float(np.minimum(low, tau)),
        high=float(np.maximum(high, tau)),
        chance=chance_of_as_high_a_tau(ours.scores, theirs.scores, seed=seed),
        chance_low=chance_of_as_high_a_tau(ours.scores, -theirs.scores, seed=seed),
        pairs=len(same),
        agreeing=int(same.sum()),
        resolved=None if resolved is None else int(resolved.sum()),
        resolved_agreeing=None if resolved is None else int((resolved & same).sum()),
    )


def matches_of(board: PublishedBoard, path: Path | None = None) -> dict[str, str]:
    """Our name -> published name, from a TOML file with a table for each board; by default the shipped one.

    Raises:
      AgreementError: there is no table for this board, or it names a submission that is not on it.
    """
    try:
        shipped = resources.files(__package__).joinpath(_MATCHES)
        text = (shipped if path is None else path).read_text(encoding="utf-8")
        matches: dict[str, str] = tomllib.loads(text)[board.name]
    except (OSError, ValueError, KeyError) as error:
        raise AgreementError(f"{path or _MATCHES}: expected a table [{board.name}], got {error!r}") from error
    unknown = sorted(set(matches.values()) - set(board.submissions))
    if unknown:
        raise AgreementError(f"{path or _MATCHES}: {', '.join(unknown)} not on {board.name}")
    return matches


def compare_boards(
    ours: Sequence[ScoreTable], theirs: Sequence[ScoreTable], matches: Mapping[str, str], *, seed: int = 0
) -> tuple[list[str], list[BoardAgreement]]:
    """The entrants on both boards, and the agreement of each of our scores with each published one.

    Raises:
      AgreementError: fewer than two entrants are on both.
    """
    common = [name for name in ours[0].submissions if name in matches]
    if len(common) < 2:
        raise AgreementError(
            f"expected two entrants or more on both boards, got {', '.join(common) or 'none'} of "
            f"{', '.join(ours[0].submissions)}; --matches=FILE says who is who"
        )
    published = [matches[name] for name in common]
    agreements = [board_agreement(o.of(common), t.of(published), seed=seed) for o in ours for t in theirs]
    return common, agreements


def verdict(common: Sequence[str], agreements: Sequence[BoardAgreement], board: PublishedBoard) -> str:
    """Plain sentences: whether this board predicts the published one. The first agreement is that of the headlines."""
    head, others = agreements[0], sum(a.shown for a in agreements[1:])
    least = 1 / math.factorial(len(common))
    tau = f"tau {head.tau:.2f}, 95 % interval {head.low:.2f} to {head.high:.2f}"
    as_well = f"{head.chance:.0%} of all orders of {len(common)} entrants agree as well"
    if least > 1 - LEVEL:
        return (
            f"{len(common)} entrants are too few to show whether this board predicts {board.name}: even the same order "
            f"comes by chance in {least:.0%} of cases. By the headline scores {head.agreeing} of {head.pairs} pairs "
            f"agree ({tau})."
        )
    rest = f" Of the {len(agreements) - 1} other comparisons {others or 'none'} {'does' if others == 1 else 'do'}."
    if head.shown:
        return f"This board predicts the order of {board.name} ({tau}; {as_well}).{rest}"
    if head.contradicted:
        return f"This board contradicts the order of {board.name} ({tau}).{rest}"
    return f"This board does not show that it predicts the order of {board.name} ({tau}; {as_well}).{rest}"


def report_lines(
    common: Sequence[str],
    matches: Mapping[str, str],
    agreements: Sequence[BoardAgreement],
    board: PublishedBoard,
    *,
    spread_known: bool,
) -> list[str]:
    """The comparison as Markdown, which reads well on a terminal too."""
    pairs = ", ".join(name if matches[name] == name else f"{name} ({matches[name]})" for name in common)
    known = (
        "drawn from its logs, by time"
        if spread_known
        else "not known and taken as none, so that intervals are too short"
    )
    lines = [
        f"{len(common)} entrants are on this board and on {board.title}: {printable(pairs)}.",
        "Intervals are over studies drawn again, not over other entrants or other minis; the spread of the published "
        f"scores is {known}.",
        "",
        "| here | published | tau | 95 % interval | by chance | pairs that agree | of those distinguished |",
        "|:---|:---|---:|:---:|---:|---:|---:|",
    ]
    for row in agreements:
        apart = "not known" if row.resolved is None else f"{row.resolved_agreeing} of {row.resolved}"
        lines.append(
            f"| {row.first} | {row.second} | {row.tau:.2f} | {row.low:.2f} to {row.high:.2f} | {row.chance:.0%} "
            f"| {row.agreeing} of {row.pairs} | {apart} |"
        )
    return [*lines, "", verdict(common, agreements, board)]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 where the boards cannot be compared."""
    args = _parser().parse_args(argv)
    drawing = {"seed": args.seed, "replicates": args.bootstrap_replicates}
    try:
        board = published_board(args.with_board)
        matches = matches_of(board, args.matches)
        theirs = published_tables(board, args.published_logs, **drawing)
        common, agreements = compare_boards(_our_tables(args, drawing), theirs, matches, seed=args.seed)
    except (UserError, LogsError, PublishedBoardError, RulesError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    known = args.published_logs is not None
    print("\n".join(report_lines(common, matches, agreements, board, spread_known=known)))
    return 0


def _our_tables(args: argparse.Namespace, drawing: dict[str, int]) -> list[ScoreTable]:
    if args.board.is_file():
        try:
            return tables_of_results(json.loads(args.board.read_text(encoding="utf-8")), **drawing)
        except (ValueError, AgreementError) as error:
            raise AgreementError(f"{args.board}: {error}") from error
    rules = load_rules(args.rules)
    tuning, costs = rules.tuning[args.tuning_ruleset], projected_costs(args.step_costs)
    return tables_of_logs(read_logs(args.board, rules.workloads), rules, tuning, costs=costs, **drawing)


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(
        prog="python -m scoring.agreement", description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("board", type=Path, help="folder of logs, or results.json of a scored board (by its one clock)")
    add("--with", dest="with_board", choices=board_names(), required=True, help="the published board")
    add("--rules", default="mini", help="of logs: a rule set or a TOML file")
    add("--tuning_ruleset", choices=("external", "self"), default="self", help="of logs")
    add("--step_costs", metavar="PATHS", help="of logs: costs of a step, for the projected board, as of the scorer")
    add("--matches", type=Path, help="TOML: a table for each board, our name = the published one (default: shipped)")
    add("--published_logs", type=Path, help="logs of the published board, for the spread of its scores")
    add("--seed", type=int, default=0, help="of the bootstrap")
    add("--bootstrap_replicates", type=int, default=DEFAULT_REPLICATES, help="boards drawn for intervals")
    return parser


if __name__ == "__main__":
    sys.exit(main())
