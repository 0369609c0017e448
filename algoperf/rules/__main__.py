"""Prints the page of the rules; `--write` puts it into docs/rules.md.

python -m algoperf.rules [--write]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from algoperf.rules import rule_book
from algoperf.rules.page import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m algoperf.rules", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/rules.md of this checkout")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    text = page(rule_book())
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
