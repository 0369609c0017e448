"""Scores runs by the budgets they were made under, where these are not the rules'."""

import dataclasses

from scoring.logs import LogTree
from scoring.rules import Rules, TuningRule
from scoring.validity import recorded_budget_s


def with_recorded_budgets(tree: LogTree, rules: Rules, tuning: TuningRule) -> tuple[LogTree, Rules]:
    """Each run with the budget that it recorded, and rules whose budgets are the largest recorded ones.

    A run that recorded none, and a workload without any, keeps the budget of the rules.
    """
    trials = tuple(
        dataclasses.replace(trial, budget_s=recorded_budget_s(trial, tuning.budget_factor)) for trial in tree.trials
    )
    workloads = dict(rules.workloads)
    for name in rules.scored_workloads:
        own = [t.budget_s for t in trials if t.workload == name and t.budget_s is not None]
        if own:
            workloads[name] = dataclasses.replace(workloads[name], max_runtime_s=max(own) / tuning.budget_factor)
    return (
        dataclasses.replace(tree, trials=trials),
        dataclasses.replace(rules, workloads=workloads, stated=rules),
    )
