"""Pictures of the compare page, as SVG that takes its text colour from the page."""

import re
from io import StringIO

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from training.runs import StoredRun

TEXT = "#010203"
"""Stands for the page's own text colour: the stylesheet decides it, in light and dark."""
BEFORE, AFTER, LOSS = "#8b95a5", "#2f81f7", "#d1603d"
WEIGHT = "weight_"


def weights_picture(before: StoredRun, after: StoredRun) -> str | None:
    """Draw both runs' weights per stage; None where neither has any."""
    keys = sorted(
        {
            name.split(WEIGHT, 1)[1]
            for run in (before, after)
            for name in run.metrics
            if re.fullmatch(rf"[^/]+/{WEIGHT}[a-z_]+", name)
            and not name.endswith(("_low", "_high"))
        }
    )
    if not keys:
        return None
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots(1, len(Stage), sharey=True)
    for stage, ax in zip(Stage, axes, strict=True):
        for shift, run, colour, label in (
            (-0.2, before, BEFORE, "before"),
            (0.2, after, AFTER, "after"),
        ):
            heights = [run.metrics.get(f"{stage}/{WEIGHT}{key}", 0.0) for key in keys]
            ax.bar(np.arange(len(keys)) + shift, heights, 0.4, color=colour, label=label)
        ax.set_title(stage.value, color=TEXT, fontsize=10)
        ax.set_xticks(np.arange(len(keys)), keys, rotation=40, ha="right", fontsize=8)
        _plain(ax)
    axes[0].set_ylabel("weight", color=TEXT)
    axes[-1].legend(frameon=False, labelcolor=TEXT, fontsize=8)
    return _svg(figure)


def differences_picture(differences: FloatArray) -> str | None:
    """Draw each listener's difference as a bar, from the greatest loss to the greatest gain."""
    if not len(differences):
        return None
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    ax = figure.subplots()
    colours = np.where(differences < 0, LOSS, AFTER).tolist()
    ax.bar(np.arange(len(differences)), differences, 1.0, color=colours)
    ax.axhline(0, color=TEXT, linewidth=0.6)
    ax.set_xlabel(f"{len(differences)} listeners, ordered", color=TEXT, fontsize=9)
    ax.set_ylabel("NDCG@10, after - before", color=TEXT, fontsize=9)
    ax.set_xlim(-0.5, len(differences) - 0.5)
    _plain(ax)
    return _svg(figure)


def _plain(ax: mpl.axes.Axes) -> None:
    ax.tick_params(colors=TEXT, labelsize=8)
    for name, spine in ax.spines.items():
        spine.set_visible(name in {"left", "bottom"})
        spine.set_color(TEXT)


def _svg(figure: Figure) -> str:
    """Return the figure's svg element; the same figure gives the same text."""
    figure.patch.set_alpha(0.0)
    for ax in figure.axes:
        ax.patch.set_alpha(0.0)
    written = StringIO()
    with mpl.rc_context({"svg.hashsalt": "bondhu", "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})  # type: ignore[no-untyped-call]
    text = written.getvalue()
    return text[text.index("<svg") :].replace(TEXT, "currentColor")
