"""The page docs/rules.md: the rules in sentences, what each edition lays down, and the table of what checks them."""

import textwrap
from collections.abc import Iterator

from algoperf.rules import STAGES, Rule, RuleBook

_WIDTH = 120
_INTRODUCTION = """\
# Rules

<!-- Written by `python -m algoperf.rules --write`, from algoperf/rules/rules.toml. -->

Each rule has an ID, by which findings name it. **Error**: the result does not count until it is explained. **Warning**:
a person has to look. **Judgement**: only a person can say. [integrity.md](integrity.md) says what is prevented,
detected and open.
"""


def page(book: RuleBook) -> str:
    """The whole page, Markdown."""
    return "\n".join([_INTRODUCTION, *_rules(book), *_editions(book), *_coverage(book)]) + "\n"


def _rules(book: RuleBook) -> Iterator[str]:
    for section in dict.fromkeys(rule.section for rule in book.rules):
        yield f"## {section}\n"
        for rule in book.rules:
            if rule.section == section:
                yield textwrap.fill(f"- **{rule.id}** ({rule.level}) {rule.text}", _WIDTH, subsequent_indent="  ")
        yield ""


def _editions(book: RuleBook) -> Iterator[str]:
    names = list(book.editions)
    yield "## Editions\n"
    yield "The rules above hold in every edition. An edition lays down besides:\n"
    yield f"| | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for what in dict.fromkeys(what for entries in book.editions.values() for what in entries):
        yield f"| {what} | {' | '.join(book.editions[name].get(what, '') for name in names)} |"
    yield ""


def _coverage(book: RuleBook) -> Iterator[str]:
    yield "## What checks what\n"
    yield from (f"- **{stage.replace('_', ' ')}**: {text}" for stage, text in STAGES.items())
    yield ""
    yield f"| rule | level | {' | '.join(stage.replace('_', ' ') for stage in STAGES)} | what is not seen |"
    yield f"|---|---|{'---|' * (len(STAGES) + 1)}"
    yield from map(_row, book.rules)


def _row(rule: Rule) -> str:
    columns = [", ".join(name.replace("_", " ") for name in rule.stage_checks(stage)) for stage in STAGES]
    return f"| {rule.id} | {rule.level} | {' | '.join(columns)} | {rule.limit} |"
