"""The rules of the benchmark as data: what they forbid, how grave it is, what looks for it and what that misses."""

import enum
import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("rules.toml")
_ID = re.compile(r"[A-Z]\d+")
STAGES: Mapping[str, str] = {
    "static": "sources are read: `python -m algoperf.check`",
    "dry_run": "a few steps in a guarded process: `python -m algoperf.check`",
    "run": "the harness refuses, prevents or records while a run lasts",
    "scoring": "records are compared when a board is made",
    "verify": "a result is evaluated and replayed again: `python -m algoperf.verify`",
}


class Level(enum.StrEnum):
    """What a violation means: the result does not count, a person has to look, or only a person can say."""

    ERROR = "error"
    WARNING = "warning"
    JUDGEMENT = "judgement"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
      id: a letter for the section and a number, such as `C1`; never used again for another rule.
      section: heading below which it stands.
      text: the rule, one sentence.
      level: what a violation means.
      checks: what looks for violations, `<stage>.<name>`, with the stages of `STAGES`.
      limit: what the checks cannot see, or why there is none; empty where they see all that is meant.
    """

    id: str
    section: str
    text: str
    level: Level
    checks: Sequence[str]
    limit: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id) or not self.text.endswith("."):
            raise ValueError(f"a rule has an ID such as C1 and a sentence, got {self.id!r}: {self.text!r}")
        unknown = [check for check in self.checks if check.partition(".")[0] not in STAGES]
        if unknown:
            raise ValueError(f"rule {self.id}: stages are {', '.join(STAGES)}, got {', '.join(unknown)}")
        if not self.checks and not self.limit:
            raise ValueError(f"rule {self.id} has neither a check nor a reason why it has none")

    def stage_checks(self, stage: str) -> list[str]:
        """Names of the checks of one stage, without the stage."""
        return [name for head, _, name in (check.partition(".") for check in self.checks) if head == stage]


@dataclass(frozen=True, kw_only=True)
class RuleBook:
    """All rules in order, and what each edition lays down: edition -> what -> text."""

    rules: tuple[Rule, ...]
    editions: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        ids = [rule.id for rule in self.rules]
        if len(set(ids)) < len(ids):
            raise ValueError(f"IDs of rules are used once, got {', '.join(ids)}")

    def __getitem__(self, rule_id: str) -> Rule:
        return next(rule for rule in self.rules if rule.id == rule_id)

    def of_check(self, check: str) -> list[Rule]:
        """The rules that a check, `<stage>.<name>`, looks after."""
        return [rule for rule in self.rules if check in rule.checks]


@functools.cache
def rule_book() -> RuleBook:
    """Reads the rules.

    Raises:
      ValueError: the file does not hold what a rule needs.
    """
    content = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    rules = tuple(Rule(**{**entry, "level": Level(entry["level"])}) for entry in content["rule"])
    return RuleBook(rules=rules, editions=content["editions"])
