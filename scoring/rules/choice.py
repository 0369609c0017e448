"""Which of the shipped rule sets a folder of logs was made for."""

from collections.abc import Collection, Mapping

from algoperf.edition import V0_6
from scoring.rules import BUILT_IN, Rules, RulesError, load_rules


def shipped_rules() -> Mapping[str, Rules]:
    """Every shipped rule set by name."""
    return {name: load_rules(name) for name in BUILT_IN}


def fitting_rules(
    logged_workloads: Collection[str], shipped: Mapping[str, Rules], editions: Collection[str] = ()
) -> Rules:
    """The one set of `shipped` whose workloads, held-out ones included, are those of the logs.

    Of sets that differ in their edition alone, those of `editions` count, which the runs recorded; where none is
    recorded, those of v0.6. Logged workloads that no set scores play no part.

    Raises RulesError, which names the candidates and what keeps each of them from fitting, when no set fits or several
    do.
    """
    logged = set(logged_workloads) & {name for rules in shipped.values() for name in rules.scored_workloads}
    fitting = [rules for rules in shipped.values() if set(rules.scored_workloads) == logged]
    if len(fitting) > 1:
        of_logs = set(editions) or {V0_6.name}
        fitting = [rules for rules in fitting if rules.edition in of_logs] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(rules.name for rules in fitting)
        raise RulesError(f"several rule sets fit the logs: {names}; choose one with --rules")
    candidates = [rules for rules in shipped.values() if logged & set(rules.scored_workloads)]
    if not candidates:
        seen = ", ".join(sorted(logged_workloads)) or "no workload"
        raise RulesError(
            f"no shipped rule set scores what is logged ({seen}); expected logs of one of {', '.join(shipped)}, "
            "or --rules with a TOML file of your own (docs/scoring.md)"
        )
    misfits = "; ".join(f"{rules.name} {_misfit(logged, set(rules.scored_workloads))}" for rules in candidates)
    raise RulesError(f"no rule set has exactly the logged workloads: {misfits}; choose one with --rules")


def _misfit(logged: set[str], scored: set[str]) -> str:
    missing, ignored = sorted(scored - logged), sorted(logged - scored)
    parts = [f"also needs {', '.join(missing)}"] * bool(missing) + [f"ignores {', '.join(ignored)}"] * bool(ignored)
    return " and ".join(parts)
