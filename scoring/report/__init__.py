"""One self-contained HTML file with everything: it opens offline and draws itself with Plotly, which is inside it.

`vendor/` holds Plotly's basic bundle: lines and markers are all that is drawn, and it is a quarter of the library.
"""

import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.records.best import best_index
from algoperf.records.json import plain
from scoring.analysis import Analysis
from scoring.board import held_out
from scoring.colors import ON_BLACK, ON_WHITE
from scoring.log_issues import printable
from scoring.logs import LogStatus, Trial
from scoring.near_misses import near_misses
from scoring.outputs import results_json
from scoring.rules import WorkloadRule
from scoring.times import first_reached

_PLOTLY = "vendor/plotly-basic.min.js"
_SCRIPTS = (
    *("model.js", "theme.js", "dom.js", "tables.js", "plot.js", "charts.js"),
    *("overview.js", "runs.js", "costs.js", "pages.js"),
)
_CURVE_POINTS = 150
_ALL_POINTS = 150_000


def write_report(analysis: Analysis, output_dir: Path) -> Path:
    """Writes `report.html` and returns its path. The content depends on the logs and the options alone."""
    rules, tuning = analysis.board.rules, analysis.board.tuning
    title = html.escape(f"Leaderboard, rules {printable(rules.name)}, {tuning.name} tuning")
    parts = {
        "TITLE": title,
        "STYLE": _read("style.css"),
        "DATA": embedded_json(_payload(analysis)),
        "PLOTLY": _read(_PLOTLY),
        "SCRIPT": "\n".join(_read(name).replace('"use strict";\n', "") for name in _SCRIPTS),
    }
    pieces = _read("template.html").split("@@")
    page = "".join(piece if i % 2 == 0 else parts[piece] for i, piece in enumerate(pieces))
    path = output_dir / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def embedded_json(value: Any) -> str:
    """JSON that is safe between script tags: nothing in it can end the element or start another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _payload(analysis: Analysis) -> dict[str, Any]:
    board = analysis.board
    content = results_json(analysis)
    points = max(24, min(_CURVE_POINTS, _ALL_POINTS // max(1, len(analysis.tree.trials))))
    names = {name: i for i, name in enumerate(board.submissions)}
    content |= {
        "colors": {"on_white": list(ON_WHITE), "on_black": list(ON_BLACK)},
        "near_misses": plain(near_misses(analysis.tree, board)),
        "held_out": dict(held_out(board.times.workloads, board.rules)),
        "rules_workloads": list(analysis.rules_board.times.workloads),
        "curves": [
            _curve(trial, names[trial.submission], board.rules.workloads[trial.workload], points)
            for trial in analysis.tree.trials
            if trial.status is LogStatus.READ and trial.workload in content["rules"]["workloads"]
        ],
    }
    # scores are recomputed in the browser from these, so they stay exact
    return {key: value if key in ("times_s", "profile", "rules") else _rounded(value) for key, value in content.items()}


def _curve(trial: Trial, submission: int, rule: WorkloadRule, points: int) -> dict[str, Any]:
    count = len(trial.time_s)
    sampled = np.unique(np.linspace(0, count - 1, min(count, points)).round().astype(int))
    first, best = first_reached(trial, rule), best_index(trial.validation, rule.metric)
    return {
        "submission": submission,
        "workload": trial.workload,
        "study": trial.study,
        "trial": trial.number,
        "time_to_target_s": None if first is None else float(trial.time_s[first]),
        "best": None if best is None else float(trial.validation[best]),
        "time_s": trial.time_s[sampled].tolist(),
        "values": plain(trial.validation[sampled]),
    }


def _rounded(value: Any) -> Any:
    """Floats to seven significant digits: a report is for eyes, and half the size."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
