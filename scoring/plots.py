"""Static plots: the performance profile as PNG and PDF, without a time stamp in the file."""

import warnings
from pathlib import Path

import numpy as np

from scoring.board import Board
from scoring.colors import LINE_STYLES, ON_WHITE
from scoring.log_issues import printable
from scoring.profiles import profile

_STEPS = 1200


def plot_profiles(board: Board, output_dir: Path) -> list[Path]:
    """Writes `performance_profile_by_score.png` and `.pdf` and returns their paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    taus = np.linspace(1.0, board.rules.tau_max, _STEPS)
    curves = profile(board.ratios, taus)
    for rank, i in enumerate(board.ranking()):
        lap, index = divmod(rank, len(ON_WHITE))
        color, style = ON_WHITE[index], LINE_STYLES[(rank + lap) % len(LINE_STYLES)]
        name = f" {_label(board.submissions[i])}  {board.scores[i]:.4f}"  # a leading underscore would hide it
        axes.plot(taus, curves[i], label=name, lw=1.8, color=color, linestyle=style)
    axes.set(
        xlim=(1.0, board.rules.tau_max),
        ylim=(0.0, 1.02),
        xlabel="time to target over the fastest submission's, $\\tau$",
        ylabel="share of workloads solved within $\\tau$",
        title=f"Performance profiles, rules {_label(board.rules.name)}, {board.tuning.name} tuning",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, title="submission, score", alignment="left")
    paths = [output_dir / f"performance_profile_by_score.{kind}" for kind in ("png", "pdf")]
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in a script without a glyph still plots
        for path in paths:
            figure.savefig(path, metadata=metadata[path.suffix[1:]])
    return paths


def _label(name: str) -> str:
    """No control characters, and no dollar that would start a formula."""
    text = printable(name).replace("$", r"\$")
    return text if len(text) <= 40 else text[:39] + "…"
