"""Table of submissions that cheat: what stops or shows each, before and with checks, guards and verification.

  python benchmarks/attacks.py [--framework=jax|pytorch] [--only=TEXT] [--all]

Each of `tests/checking/attack_cases.py` is checked as `algoperf check` does it, on the toy workload, in both
frameworks; benchmarks/verification.py has the attacks on results. Without `--all` the dry run is left out (`.`) where
the sources give an error already. The exit status is 1 where an attack is open.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/checking"), str(ROOT / "tests/verification")]

from attack_cases import ATTACKS, HONEST, PREVENTED, Attack  # noqa: E402

from algoperf.checking.findings import RuleFinding, has_errors  # noqa: E402
from algoperf.checking.static import check_sources  # noqa: E402
from algoperf.rules import Level  # noqa: E402

_CHILD = "--dry_run_child"
_TIMEOUT_S = 300


def dry_run_in_child(submission: Path, framework: str, folder: Path) -> list[RuleFinding]:
    """The findings of the dry run on the toy workload, in a process of its own."""
    request = {
        "submission": str(submission),
        "framework": framework,
        "workloads": ["toy_mini"],
        "data_dir": str(folder / "data"),
        "steps": 3,
    }
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA_STORE": str(folder / "data")}
    command = [sys.executable, __file__, _CHILD, json.dumps(request), str(answer)]
    with (folder / "output.txt").open("w") as output:
        subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=_TIMEOUT_S)
    if not answer.is_file():
        return [RuleFinding.of("dry_run.steps", "the dry run gave no answer", "look at its output")]
    return [RuleFinding(**{**entry, "level": Level(entry["level"])}) for entry in json.loads(answer.read_text())]


def _child(words: list[str]) -> int:
    from algoperf.checking import dry_run
    from algoperf.registry import Registry

    status = dry_run.main(["", *words], Registry(("algoperf.testing.toy_workload",)))
    sys.stdout.flush()
    os._exit(status)  # threads and processes of an attack may not keep it alive


def named(findings: list[RuleFinding]) -> str:
    marks = Counter(f"{f.rule}{'' if f.level is Level.ERROR else '?'}" for f in findings)
    return " ".join(sorted(marks)) or "-"


def now(attack: Attack, findings: list[RuleFinding]) -> str:
    """Prevented by the harness; detected by an error; recorded for a person by a warning; open."""
    shown = "detected" if any(f.level is Level.ERROR for f in findings) else "recorded" if findings else "open"
    return f"prevented, {shown}" if attack.before == PREVENTED and shown != "open" else shown


def table(framework: str, only: str, folder: Path, *, run_all: bool) -> Counter[str]:
    """Prints a row for each attack; returns how many ended how."""
    counts: Counter[str] = Counter()
    honest = named([*check_sources(HONEST[framework]), *dry_run_in_child(HONEST[framework], framework, folder)])
    print(f"\n## {framework}\n\nThe honest submission that is changed: {honest}\n")
    print("| attack | rule | before | sources | dry run | now |\n|---|---|---|---|---|---|")
    for number, attack in enumerate(a for a in ATTACKS if only in a.name):
        path = attack.write(folder / f"attack_{number}", framework)
        static = check_sources(path)
        runs = run_all or not has_errors(static)
        dynamic = dry_run_in_child(path, framework, folder) if runs else []
        verdict = now(attack, [*static, *dynamic])
        counts[verdict] += 1
        row = [attack.name, attack.rule, attack.before, named(static), named(dynamic) if runs else ".", verdict]
        print(f"| {' | '.join(row)} |", flush=True)
    return counts


def main(argv: list[str]) -> int:
    if argv[:1] == [_CHILD]:
        return _child(argv[1:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=tuple(HONEST))
    parser.add_argument("--only", default="", help="attacks whose name has this text")
    parser.add_argument("--all", action="store_true", help="dry runs of those too that the sources give away")
    options = parser.parse_args(argv)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        for framework in HONEST:
            if options.framework in (None, framework):
                total += table(framework, options.only, Path(folder), run_all=options.all)
    print(f"\n{sum(total.values())} attacks: {', '.join(f'{count} {verdict}' for verdict, count in total.items())}")
    return 1 if total["open"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
