"""Writes a rule set with every number in it, so that no later definition changes what a board was scored by.

python -m scoring.rules.freeze mini --name=mini-2026-11 --description=... [--logs=DIR] > mini-2026-11.toml
python -m scoring.rules.freeze v0.6 --today > v0.6.toml    # a frozen set with the numbers of today's definitions
"""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from algoperf.digest import digest_scheme
from algoperf.registry import REGISTRY
from scoring.logs import read_logs
from scoring.provenance import recorded_digest
from scoring.rules import SCHEMA_VERSION, Rules, RulesError, WorkloadRule, load_rules, rule_of_definition

_HEAD = """\
# A closed edition: its numbers stay, whatever the definitions say later. Written by `python -m scoring.rules.freeze`.
"""


def frozen_toml(rules: Rules, digests: Iterable[tuple[str, str]] = ()) -> str:
    """`rules` as a frozen TOML file. `digests` are further pairs of a workload and a digest that counts as it.

    Raises RulesError where a workload would have two digests of one scheme.
    """
    lines = [_HEAD.rstrip(), f"schema_version = {SCHEMA_VERSION}", f"name = {json.dumps(rules.name)}"]
    lines += [f"description = {json.dumps(rules.description)}", "frozen = true"]
    lines += [] if rules.edition is None else [f'edition = "{rules.edition}"']
    lines += ["", "base_workloads = ["]
    lines += [f'  "{workload}",' for workload in rules.base_workloads] + ["]"]
    if rules.hardware is not None:
        lines += ["", "[hardware]", f'gpu = "{rules.hardware.gpu}"', f"gpu_count = {rules.hardware.gpu_count}"]
    if rules.held_out:
        lines += ["", "[held_out]", *(f'{extra} = "{base}"' for extra, base in rules.held_out.items())]
    lines += ["", "[profile]", f"tau_max = {rules.tau_max}", f"cutoff_factor = {rules.cutoff_factor}"]
    for name, tuning in rules.tuning.items():
        lines += ["", f"[{name}]", f"studies = {tuning.studies}", f"trials_per_study = {tuning.trials_per_study}"]
        lines.append(f"budget_factor = {tuning.budget_factor}")
    further = list(digests)
    for name in rules.scored_workloads:
        own = rules.workloads[name]
        known = dict.fromkeys([*own.definition_digests, *(digest for workload, digest in further if workload == name)])
        lines += ["", *_workload_lines(own, list(known))]
    if rules.has_ladder:
        lines += ["", "[ladders]"]
        lines += [f"{name} = {list(rules.workloads[name].rungs)}" for name in rules.scored_workloads]
    return "\n".join(lines) + "\n"


def _workload_lines(rule: WorkloadRule, digests: list[str]) -> list[str]:
    schemes = [digest_scheme(digest) for digest in digests]
    if len(schemes) != len(set(schemes)):
        raise RulesError(f"{rule.name}: expected one definition, got the digests {', '.join(digests)}")
    lines = [f"[workloads.{rule.name}]", f'metric = "{rule.metric.name}"', f'direction = "{rule.metric.direction}"']
    lines.append(f"validation_target = {rule.validation_target!r}")
    if rule.test_target is not None:
        lines.append(f"test_target = {rule.test_target!r}")
    lines.append(f"max_runtime_s = {rule.max_runtime_s!r}")
    if rule.eval_period_s is not None:
        lines.append(f"eval_period_s = {rule.eval_period_s!r}")
    if rule.max_runtime_steps is not None:
        lines.append(f"max_runtime_steps = {rule.max_runtime_steps}")
    lines.append(f"step_hint = {rule.step_hint}")
    if digests:
        lines.append(f"definition_digests = {json.dumps(digests)}")
    return lines


def with_todays_definitions(rules: Rules) -> Rules:
    """`rules` with the numbers of today's definitions of its workloads."""
    today = {
        d.name: dataclasses.replace(
            rule_of_definition(d.of_edition(rules.edition or d.edition)), rungs=rules.workloads[d.name].rungs
        )
        for d in REGISTRY.definitions()
        if d.name in rules.scored_workloads
    }
    return dataclasses.replace(rules, workloads={**rules.workloads, **today})


def recorded_digests(directory: Path, rules: Rules) -> list[tuple[str, str]]:
    """Pairs of a workload and a digest that runs below `directory` recorded, sorted."""
    trials = read_logs(directory, rules.workloads).trials
    return sorted({(t.workload, digest) for t in trials if (digest := recorded_digest(t)) is not None})


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scoring.rules.freeze", description=__doc__.splitlines()[0])
    parser.add_argument("rules", help="the rule set to write: a name or a TOML file")
    parser.add_argument("--name", help="of the frozen set; the same when not given")
    parser.add_argument("--description", help="of the frozen set; the same when not given")
    parser.add_argument("--today", action="store_true", help="with the numbers of today's definitions")
    parser.add_argument("--logs", type=Path, help="runs whose definitions count as those of the rule set")
    args = parser.parse_args(argv)
    rules = load_rules(args.rules)
    digests = [] if args.logs is None else recorded_digests(args.logs, rules)
    rules = with_todays_definitions(rules) if args.today else rules
    name, description = args.name or rules.name, args.description or rules.description
    print(frozen_toml(dataclasses.replace(rules, name=name, description=description), digests), end="")


if __name__ == "__main__":
    main()
