"""Who submitted what: `submission_info.yml` in the folder of a submission, as AlgoPerf's submissions have it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.definition import EXTERNAL, FRAMEWORKS, SELF_TUNING
from scoring.log_issues import LogIssue, Severity
from scoring.logs import INFO_FILES, LogTree

REQUIRED = ("submission_name", "authors", "affiliations", "version", "ruleset", "framework", "description", "license")
OPTIONAL = ("submission_folder", "links")
# Spellings that are understood.
_SYNONYMS = {"affiliation": "affiliations", "author": "authors", "licence": "license", "link": "links"}
# `self-tuning` is AlgoPerf's name of the ruleset `self`.
_RULESETS = {"external": EXTERNAL.name, "self-tuning": SELF_TUNING.name, "self": SELF_TUNING.name}
_LISTS = ("authors", "affiliations", "links")
_MAX_BYTES = 65_536
_CODE = "submission_info"


@dataclass(frozen=True, kw_only=True)
class SubmissionInfo:
    """What the file says; empty where it says nothing.

    Attributes:
      ruleset: `external` or `self`.
      framework: `jax` or `pytorch`.
      links: addresses that start with `https://` or `http://`.
    """

    submission_name: str = ""
    authors: tuple[str, ...] = ()
    affiliations: tuple[str, ...] = ()
    version: str = ""
    ruleset: str = ""
    framework: str = ""
    description: str = ""
    license: str = ""
    links: tuple[str, ...] = ()
    submission_folder: str = ""


def read_infos(
    tree: LogTree, ruleset: str, directory: Path | None = None
) -> tuple[dict[str, SubmissionInfo], list[LogIssue]]:
    """The files of the submissions in `tree`, and an issue for each oddity.

    A file is looked for in the submission's folder of results, then in `directory/<submission>/`. Without any file and
    any directory, nothing is said.
    """
    infos: dict[str, SubmissionInfo] = {}
    issues: list[LogIssue] = []
    without = []
    for submission in tree.submissions:
        path = _find(_folders(tree, submission, directory))
        if path is None:
            without.append(submission)
            continue
        info, problems = read_info(path)
        infos[submission] = info
        problems += _contradictions(info, ruleset, {t.framework for t in tree.trials if t.submission == submission})
        issues += [_issue(submission, f"{path.name}: {text}", severity) for severity, text in problems]
    if infos or directory is not None:
        issues += [_issue(name, f"there is no {INFO_FILES[0]}", Severity.NOTE) for name in without]
    return infos, issues


def read_info(path: Path) -> tuple[SubmissionInfo, list[tuple[Severity, str]]]:
    """What a file says and what is wrong with it."""
    raw, problem = _parse(path)
    if problem:
        return SubmissionInfo(), [(Severity.NOTE, problem)]
    given = {_SYNONYMS.get(str(key), str(key)): value for key, value in raw.items()}
    problems = []
    unknown = sorted(set(given) - {*REQUIRED, *OPTIONAL})
    if unknown:
        problems.append(f"unknown keys {', '.join(unknown)}; known are {', '.join((*REQUIRED, *OPTIONAL))}")
    missing = [key for key in REQUIRED if given.get(key) in (None, "", [])]
    if missing:
        problems.append(f"nothing about {', '.join(missing)}")
    fields: dict[str, Any] = {}
    for key in (*REQUIRED, *OPTIONAL):
        texts = _texts(given.get(key), split=key in _LISTS)
        if texts is None:
            problems.append(f"expected text{' or a list of texts' if key in _LISTS else ''} as {key}")
        elif key == "links":
            fields[key] = tuple(text for text in texts if re.fullmatch(r"https?://\S+", text))
            problems += [
                f"expected an address with https:// in links, got {t!r}" for t in texts if t not in fields[key]
            ]
        else:
            fields[key] = tuple(texts) if key in _LISTS else " ".join(" ".join(texts).split())
    for key, known in (("ruleset", _RULESETS), ("framework", {name: name for name in FRAMEWORKS})):
        value = fields.get(key, "")
        fields[key] = known.get(value.lower(), "")
        if value and not fields[key]:
            problems.append(f"expected {' or '.join(known)} as {key}, got {value!r}")
    return SubmissionInfo(**fields), [(Severity.NOTE, text) for text in problems]


def info_markdown(infos: dict[str, SubmissionInfo], order: Sequence[str], escape: Callable[[str], str]) -> list[str]:
    """The section of the board that names authors, affiliations, licence and links; `escape` makes texts safe."""
    lines = ["| submission | authors | affiliations | licence | description |", "|:---|:---|:---|:---|:---|"]
    for name in order:
        info = infos.get(name, SubmissionInfo())
        entries = (name, ", ".join(info.authors), ", ".join(info.affiliations), info.license)
        described = " ".join((escape(info.description), *(f"<{link}>" for link in map(_safe_link, info.links)))).strip()
        lines.append(f"| {' | '.join(map(escape, entries))} | {described} |")
    return lines


def _contradictions(info: SubmissionInfo, ruleset: str, frameworks: set[str]) -> list[tuple[Severity, str]]:
    contradictions = []
    if info.ruleset and info.ruleset != ruleset:
        contradictions.append((Severity.WARNING, f"says ruleset {info.ruleset}, and is scored under {ruleset}"))
    if info.framework and frameworks and info.framework not in frameworks:
        contradictions.append(
            (Severity.WARNING, f"says framework {info.framework}, and ran in {', '.join(sorted(frameworks))}")
        )
    return contradictions


def _folders(tree: LogTree, submission: str, directory: Path | None) -> Iterable[Path]:
    yield tree.root / submission
    # below a folder of a team, or with a date in its name
    yield from sorted({trial.path.parents[2] for trial in tree.trials if trial.submission == submission})
    if directory is not None:
        yield directory / submission


def _find(folders: Iterable[Path]) -> Path | None:
    candidates = (folder / name for folder in folders for name in INFO_FILES)
    return next((path for path in candidates if path.is_file()), None)


def _parse(path: Path) -> tuple[dict[Any, Any], str]:
    """The mapping in the file, or an empty one and the reason."""
    try:
        import yaml
    except ImportError:
        return {}, "not read: PyYAML is not installed (the extra `scoring` has it)"
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            return {}, f"not read: larger than {_MAX_BYTES} bytes"
        raw = yaml.safe_load(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, ValueError, yaml.YAMLError) as error:
        return {}, f"cannot be read ({type(error).__name__})"
    return (raw, "") if isinstance(raw, dict) else ({}, "expected a mapping of keys to values")


def _texts(value: Any, *, split: bool) -> list[str] | None:
    """The texts in a value, none where there is no value; None where it is of another kind."""
    entries = value if isinstance(value, list) and split else [] if value is None else [value]
    if not all(isinstance(entry, str | int | float) for entry in entries):
        return None
    texts = [str(entry) for entry in entries]
    parts = [part for text in texts for part in text.split(",")] if split and not isinstance(value, list) else texts
    return [part.strip() for part in parts if part.strip()]


def _safe_link(link: str) -> str:
    return re.sub(r"[<>|`\"'\\]", lambda match: f"%{ord(match.group()):02X}", link)


def _issue(submission: str, message: str, severity: Severity) -> LogIssue:
    return LogIssue(path=submission, code=_CODE, severity=severity, message=message)
