"""Pairs of a board that each score distinguishes at 5 % family-wise, and how the orders of the scores agree.

  python benchmarks/pairs_distinguished.py docs/leaderboard/mini-2026-11-27/logs --rules=mini-2026-11-27
      [--step_costs=PATHS]

Scores are by time (reference steps where every run has them), by steps and, with step costs, projected; each at the
official target and on the ladder. A pair counts as far apart where its scores differ by more than 0.1.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from scoring.agreement import DEFAULT_REPLICATES
from scoring.logs import read_logs
from scoring.rules import load_rules
from scoring.score_tables import ScoreTable, tables_of_logs
from scoring.statistics.rank_correlation import kendall_tau
from scoring.step_costs import projected_costs

FAR_APART = 0.1


def row(table: ScoreTable, official: ScoreTable) -> str:
    assert table.better is not None
    pairs = list(itertools.combinations(range(len(table.submissions)), 2))
    resolved = {pair for pair in pairs if table.better[pair] or table.better[pair[::-1]]}
    far = {(a, b) for a, b in pairs if abs(table.scores[a] - table.scores[b]) > FAR_APART}
    tau = float(kendall_tau(table.scores, official.scores))
    share = f"{len(resolved & far)} of {len(far)} ({len(resolved & far) / max(1, len(far)):.0%})"
    return f"| {table.name} | {len(resolved)} of {len(pairs)} | {share} | {tau:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path)
    parser.add_argument("--rules", required=True)
    parser.add_argument("--tuning_ruleset", default="self")
    parser.add_argument("--step_costs")
    options = parser.parse_args()
    rules = load_rules(options.rules)
    tables = tables_of_logs(
        read_logs(options.logs, rules.workloads),
        rules,
        rules.tuning[options.tuning_ruleset],
        costs=projected_costs(options.step_costs),
        seed=0,
        replicates=DEFAULT_REPLICATES,
    )
    print("| score | pairs distinguished | of those more than 0.1 apart | tau with the official target, same clock |")
    print("|:---|---:|---:|---:|")
    for table in tables:
        clock = table.name.partition(",")[0]
        print(row(table, next(other for other in tables if other.name.startswith(f"{clock}, target"))))
    order = np.argsort(-tables[0].scores)
    print("\nfrom the best on, by the first score: " + ", ".join(tables[0].submissions[i] for i in order))


if __name__ == "__main__":
    main()
