"""Lists published boards, or writes the data of one from its logs.

python -m scoring.published [NAME]
python -m scoring.published --from_logs=DIR --rules=v0.5 --tuning=self --title=T --source=S --hardware=H > NAME.toml
"""

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np

from scoring.board import Board, make_board
from scoring.logs import read_logs
from scoring.published import SCHEMA_VERSION, PublishedBoard, PublishedBoardError, board_names, published_board
from scoring.rules import load_rules
from scoring.times import Mode


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 for a board that does not exist."""
    parser = argparse.ArgumentParser(prog="python -m scoring.published", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help="one of the boards; all of them when not given")
    parser.add_argument("--from_logs", help="folder of results to write data from, scored as AlgoPerf's scorer does")
    for option in ("rules", "tuning", "title", "source", "hardware"):
        parser.add_argument(f"--{option}", default="", help="of the board that is written")
    args = parser.parse_args(argv)
    if args.from_logs:
        rules = load_rules(args.rules)
        board = make_board(read_logs(args.from_logs, rules.workloads), rules, rules.tuning[args.tuning], Mode.ALGOPERF)
        print(board_toml(board, title=args.title, source=args.source, hardware=args.hardware), end="")
        return 0
    try:
        chosen = [published_board(name) for name in ([args.name] if args.name else board_names())]
    except PublishedBoardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(listing(board) for board in chosen))
    return 0


def listing(board: PublishedBoard) -> str:
    """A board as text."""
    known = "scores and times to target" if board.times_s else "scores only: nobody can be placed on it"
    lines = [f"{board.name}: {board.title}", f"  rules {board.rules}, {board.tuning} tuning, {board.hardware}; {known}"]
    lines.append(f"  source: {board.source}")
    width = max(map(len, board.submissions))
    for name in board.submissions:
        steps = f"  {board.scores_by_steps[name]:g} by steps" if name in board.scores_by_steps else ""
        lines.append(f"  {name:<{width}}  {board.scores[name]:<6g}{steps}")
    return "\n".join(lines + ([] if board.complete else ["  and others, whose scores are not here"]))


def board_toml(board: Board, *, title: str, source: str, hardware: str) -> str:
    """The data of a board that was scored from its logs; times in hundredths of a second."""
    lines = [f"schema_version = {SCHEMA_VERSION}", f"title = {json.dumps(title)}", f"source = {json.dumps(source)}"]
    lines += [f"rules = {json.dumps(board.rules.name)}", f"tuning = {json.dumps(board.tuning.name)}"]
    lines += [f"hardware = {json.dumps(hardware)}", "complete = true", "", "[scores]"]
    order = board.ranking()
    lines += [f"{board.submissions[i]} = {board.scores[i]:.4f}" for i in order]
    for i in order:
        lines += ["", f"[times_s.{board.submissions[i]}]"]
        for workload, time_s in zip(board.times.workloads, board.times.workload_s[i], strict=True):
            if np.isfinite(time_s):
                lines.append(f"{workload} = {time_s:.2f}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
