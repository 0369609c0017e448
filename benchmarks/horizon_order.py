"""Whether the order of entrants on minis moves with the length of runs: the same ones at horizon 1 and a longer one.

  python benchmarks/horizon_order.py docs/leaderboard/mini-2026-11-27/logs docs/leaderboard/horizon3/logs \
      [--rules=mini-2026-11-27] [--longer_rules=mini_horizon3] [--with=algoperf-v1.0-self]

Both sides are scored on the minis of the longer rules, with the entrants and studies that both have. Prints steps to
the target as a share of the step hint, the scores, and Kendall's tau of the two orders and of each with a published
one.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from algoperf.definition import SELF_TUNING, split_horizon
from scoring.agreement import matches_of
from scoring.logs import LogTree, read_logs
from scoring.published import board_names, published_board
from scoring.rules import Rules, load_rules
from scoring.score_tables import ScoreTable, published_tables, tables_of_logs
from scoring.statistics.rank_correlation import kendall_tau

_DRAWING = {"seed": 0, "replicates": 2000}


def common_part(trees: Sequence[LogTree], minis: Sequence[str]) -> list[LogTree]:
    """The trials of entrants and studies that every tree has, on `minis` at any horizon."""
    on_minis = [[t for t in tree.trials if split_horizon(t.workload)[0] in minis] for tree in trees]
    shared = set.intersection(*({(t.submission, t.study) for t in trials} for trials in on_minis))
    return [
        dataclasses.replace(tree, trials=tuple(t for t in trials if (t.submission, t.study) in shared))
        for tree, trials in zip(trees, on_minis, strict=True)
    ]


def tables(tree: LogTree, rules: Rules) -> list[ScoreTable]:
    studies = len({trial.study for trial in tree.trials})
    rules = rules.with_counts(studies=studies, trials=None)
    return tables_of_logs(tree, rules, rules.tuning[SELF_TUNING.name], **_DRAWING)


def tau(first: ScoreTable, second: ScoreTable) -> str:
    return f"{float(kendall_tau(first.scores, second.scores)):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path)
    parser.add_argument("longer_logs", type=Path)
    parser.add_argument("--rules", default="mini-2026-11-27")
    parser.add_argument("--longer_rules", default="mini_horizon3")
    parser.add_argument("--with", dest="with_board", choices=board_names(), default="algoperf-v1.0-self")
    options = parser.parse_args()

    longer = load_rules(options.longer_rules)
    minis = tuple(split_horizon(name)[0] for name in longer.base_workloads)
    shorter = dataclasses.replace(load_rules(options.rules), base_workloads=minis)
    sides = [(options.logs, shorter), (options.longer_logs, longer)]
    trees = common_part([read_logs(path, rules.workloads) for path, rules in sides], minis)
    entrants = sorted({trial.submission for trial in trees[0].trials})

    both = [tables(tree, rules) for tree, (_, rules) in zip(trees, sides, strict=True)]
    board = published_board(options.with_board)
    matches, theirs = matches_of(board), published_tables(board, None, **_DRAWING)
    names = [name for name in entrants if matches.get(name) in theirs[0].submissions]
    by_published = {table.name: table.of([matches[name] for name in names]) for table in theirs}

    print(f"| score | horizon | {' | '.join(entrants)} | tau with the other | {' | '.join(by_published)} |")
    print(f"|:---|:---|{'---:|' * (len(entrants) + 1 + len(by_published))}")
    for short, long in zip(*both, strict=True):
        for horizon, own, other in (("1", short, long), ("longer", long, short)):
            scores = " | ".join(f"{score:.3f}" for score in own.of(entrants).scores)
            with_published = " | ".join(tau(own.of(names), table) for table in by_published.values())
            with_other = tau(own.of(entrants), other.of(entrants))
            print(f"| {own.name} | {horizon} | {scores} | {with_other} | {with_published} |")


if __name__ == "__main__":
    main()
