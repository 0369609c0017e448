"""The file `verification.json`: what another look at a finished trial confirmed, and what it contradicted."""

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from algoperf.records import json
from algoperf.records.layout import EVALUATIONS, TRIAL_FILE, VERIFICATION_FILE

SCHEMA_VERSION = 1
_VERIFIED_FILES = (EVALUATIONS, TRIAL_FILE)


class Answer(enum.StrEnum):
    """Of one check."""

    CONFIRMED = "confirmed"
    UNKNOWN = "unknown"
    CONTRADICTED = "contradicted"


class VerificationVerdict(enum.StrEnum):
    """Of all checks: nothing was left open, something was, or something cannot be true."""

    VERIFIED = "verified"
    PLAUSIBLE = "plausible"
    CONTRADICTED = "contradicted"


@dataclass(frozen=True, kw_only=True)
class VerificationCheck:
    """One check: its name, what it says, and why."""

    name: str
    answer: Answer
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verification.json` holds.

    Attributes:
      checks: in the order in which they were made.
      files_digest: of the files that were verified; another one means that they were changed since.
      version: of the package that verified.
    """

    checks: Sequence[VerificationCheck]
    files_digest: str
    version: str

    @property
    def verdict(self) -> VerificationVerdict:
        answers = {check.answer for check in self.checks}
        if Answer.CONTRADICTED in answers:
            return VerificationVerdict.CONTRADICTED
        return VerificationVerdict.PLAUSIBLE if Answer.UNKNOWN in answers else VerificationVerdict.VERIFIED

    def reasons(self, *answers: Answer) -> list[str]:
        """`name: reason` of the checks with one of `answers`."""
        return [f"{check.name}: {check.reason}" for check in self.checks if check.answer in answers]

    def is_of(self, trial_dir: Path) -> bool:
        """Whether the files of the trial are still those that were verified."""
        return self.files_digest == files_digest(trial_dir)

    def write(self, trial_dir: Path) -> None:
        """Writes `verification.json`.

        Raises:
          RecorderError: the disk is full or not writable.
        """
        content = {"schema_version": SCHEMA_VERSION, "verdict": self.verdict, **json.plain(self)}
        json.write(trial_dir / VERIFICATION_FILE, content)

    @classmethod
    def read(cls, trial_dir: Path) -> Self | None:
        """What was written; None where there is nothing that can be read."""
        values = json.read_if_intact(trial_dir / VERIFICATION_FILE)
        if values is None or values.get("schema_version") != SCHEMA_VERSION:
            return None
        try:
            checks = [
                VerificationCheck(name=str(c["name"]), answer=Answer(c["answer"]), reason=str(c["reason"]))
                for c in values["checks"]
            ]
            return cls(checks=checks, files_digest=str(values["files_digest"]), version=str(values["version"]))
        except (KeyError, TypeError, ValueError):
            return None


def files_digest(trial_dir: Path) -> str:
    """Hash of the evaluations and the record of a trial (16 hex digits); a missing file counts as empty."""
    hasher = hashlib.sha256()
    for name in _VERIFIED_FILES:
        path = trial_dir / name
        content = path.read_bytes() if path.is_file() else b""
        hasher.update(f"{name}\0{len(content)}\0".encode() + content)
    return hasher.hexdigest()[:16]
