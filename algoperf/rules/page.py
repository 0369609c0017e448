"""The page docs/rules.md: the rules in sentences, and what each edition lays down."""

from collections.abc import Iterator

from algoperf.rules import RuleBook

_INTRODUCTION = """\
# Rules

<!-- Written by `python -m algoperf.rules --write`, from algoperf/rules/rules.toml. -->

Each rule has an ID, by which findings name it. **Error**: the result does not count until it is explained. **Warning**:
a person has to look. **Judgement**: only a person can say.
"""


def page(book: RuleBook) -> str:
    """The whole page, Markdown."""
    return "\n".join([_INTRODUCTION, *_rules(book), *_editions(book)]) + "\n"


def _rules(book: RuleBook) -> Iterator[str]:
    for section in dict.fromkeys(rule.section for rule in book.rules):
        yield f"## {section}\n"
        for rule in book.rules:
            if rule.section == section:
                yield f"- **{rule.id}** ({rule.level}) {rule.text}"
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
