"""What a check says: the rule, the place in the sources, what is there and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from algoperf.rules import Level, rule_book


@dataclass(frozen=True, kw_only=True, order=True)
class RuleFinding:
    """One finding.

    Attributes:
      file: as the submission names it, relative to its folder; empty where a process, not a file, shows it.
      line: from 1; 0 where there is none.
      rule: ID of the rule.
      check: `<stage>.<name>`.
      level: that of the rule, or a lower one where the check cannot be sure.
      message: what is there.
      advice: what to do.
    """

    file: str
    line: int
    rule: str
    check: str
    level: Level
    message: str
    advice: str

    @classmethod
    def of(
        cls,
        check: str,
        message: str,
        advice: str,
        *,
        file: str = "",
        line: int = 0,
        level: Level | None = None,
        rule_id: str | None = None,
    ) -> "RuleFinding":
        """A finding of `check`, about the rule `rule_id`; by default the first that names the check."""
        rule = rule_book().of_check(check)[0] if rule_id is None else rule_book()[rule_id]
        return cls(
            file=file,
            line=line,
            rule=rule.id,
            check=check,
            level=level or rule.level,
            message=message,
            advice=advice,
        )

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " * bool(self.file)
        return f"{where}{self.rule} {self.level}: {self.message}; {self.advice}"

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def has_errors(findings: Iterable[RuleFinding]) -> bool:
    return any(finding.level is Level.ERROR for finding in findings)


def summary(findings: Sequence[RuleFinding]) -> str:
    """`2 errors, 1 warning`."""
    counts = {level: sum(f.level is level for f in findings) for level in (Level.ERROR, Level.WARNING)}
    return ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
