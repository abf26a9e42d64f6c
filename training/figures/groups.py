"""A metric by group of listeners."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from training.evaluation.intervals import Interval
from training.figures.png import OURS, QUIET, png_of


def groups_figure(
    groups: Mapping[str, tuple[int, Interval]], *, measured: str, line_at: float | None = None
) -> bytes:
    """Draw a metric of each group of listeners with its 95% interval, one below another.

    Parameters
    ----------
    groups
        Group -> (number of its listeners, the metric).
    line_at
        Where nothing is gained, for a difference.

    Examples
    --------
    >>> groups_figure({"dated plays": (40, Interval(0.1, 0.05, 0.15))}, measured="NDCG@10")[1:4]
    b'PNG'
    """
    names = list(groups)
    figure = Figure(figsize=(6.5, 1.2 + 0.3 * max(1, len(names))), layout="constrained")
    ax = figure.subplots()
    for place, name in enumerate(names):
        _, interval = groups[name]
        ax.plot([interval.low, interval.high], [place, place], color=OURS, linewidth=1.5)
        ax.plot(interval.mean, place, "o", color=OURS)
    if line_at is not None:
        ax.axvline(line_at, linestyle="--", color=QUIET)
    labels = [f"{name} (n = {groups[name][0]:,})" for name in names]
    ax.set_yticks(range(len(names)), labels, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(measured)
    ax.spines[["top", "right"]].set_visible(False)
    return png_of(figure)
