"""What scoring noticed about its input: each oddity is listed, none is dropped in silence."""

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """Note: nothing is lost. Warning: something counts as a miss or is not used. Error: the board is in doubt."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, order=True)
class LogIssue:
    """One oddity: where (`path`, relative to the logs), what kind (`code`), and a sentence."""

    path: str
    code: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {printable(self.path)}: {self.message}"


def printable(text: str) -> str:
    """`text` without control characters or lone surrogates, so that hostile names cannot steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
