"""`algoperf check` on every honest submission of this repository, dry runs included: none may have an error.

  python benchmarks/honest_submissions.py [--only=TEXT] [--static]

These are all reference algorithms in both frameworks, the templates, and five unusual ones: L-BFGS, gradient
accumulation, data echoing, an own torch.compile, a two-level optimizer. Prints the findings of each and its seconds.
The exit status is 1 where there is an error.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = (
    "reference_algorithms/*/*_submission.py",
    "submissions/template/submission*.py",
    "tests/checking/honest/*.py",
)


def findings(path: Path, *, static: bool) -> list[dict[str, str]]:
    """What `algoperf check` finds; its failure is an error too."""
    words = [sys.executable, "-m", "algoperf", "check", str(path), "--json", *["--static"] * static]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    try:
        listed: list[dict[str, str]] = json.loads(done.stdout)["result"]["findings"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        return [{"level": "error", "rule": "none", "message": f"exit status {done.returncode}: {last}"}]
    return listed


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="paths that have this text")
    parser.add_argument("--static", action="store_true", help="leave the dry runs out")
    options = parser.parse_args(argv)
    paths = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern)) if options.only in str(path)]
    levels: Counter[str] = Counter()
    for path in paths:
        begun_s = time.monotonic()
        listed = findings(path, static=options.static)
        levels.update(finding["level"] for finding in listed)
        print(f"{path.relative_to(ROOT)}: {len(listed)} findings in {time.monotonic() - begun_s:.0f} s", flush=True)
        for finding in listed:
            print(f"  {finding}", flush=True)
    print(f"{len(paths)} submissions: {levels['error']} errors, {levels['warning']} warnings")
    return 1 if levels["error"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
