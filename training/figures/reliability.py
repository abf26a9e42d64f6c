"""Reliability: whether what the score promises is what listeners turn out to play."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recommender.audio import FloatArray
from training.evaluation.reliability import Bin, bins_of
from training.figures.png import OURS, QUIET, png_of


def calibration_figure(promised: FloatArray, found: FloatArray) -> bytes:
    """Draw how often tracks were found against the probability that the score gives them.

    Parameters
    ----------
    promised, found
        (n,) probabilities in [0, 1], and 1 where the listener turned out to play the artist.

    Examples
    --------
    >>> calibration_figure(np.linspace(0, 1, 50), np.arange(50) % 2)[1:4]
    b'PNG'
    """
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    ax = figure.subplots()
    _draw(ax, bins_of(promised, found))
    ax.set_ylabel("share found")
    return png_of(figure)


def reliability_figure(stages: Mapping[str, tuple[FloatArray, FloatArray]]) -> bytes:
    """Draw the same for each stage; `stages` holds stage -> (promised, found)."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(1, len(stages))))
    for (stage, (promised, found)), ax in zip(stages.items(), axes, strict=False):
        _draw(ax, bins_of(promised, found))
        ax.set_title(f"{stage} (n = {len(found):,})", fontsize=10)
    axes[0].set_ylabel("share found")
    return png_of(figure)


def _draw(ax: Axes, bins: list[Bin]) -> None:
    highest = max([0.01, *(max(one.promised, one.high) for one in bins)])
    ax.plot([0, highest], [0, highest], linestyle="--", color=QUIET)
    for one in bins:
        ax.plot([one.promised] * 2, [one.low, one.high], color=OURS, linewidth=1)
    ax.plot([one.promised for one in bins], [one.found for one in bins], "o-", color=OURS)
    ax.set_xlabel("promised probability")
    ax.spines[["top", "right"]].set_visible(False)
