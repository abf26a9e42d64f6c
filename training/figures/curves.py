"""Learning curves: what more data would bring."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from training.evaluation.intervals import Interval
from training.figures.png import OURS, QUIET, png_of


def learning_curve_figure(
    curve: Mapping[int, Interval],
    *,
    of: str,
    measured: str,
    peer: tuple[str, float] | None = None,
) -> bytes:
    """Draw a metric over the size of the training data, with its 95% intervals.

    Parameters
    ----------
    curve
        Size -> the metric on the same test data.
    of, measured
        What is counted along the x axis, and what stands on the y axis.
    peer
        Name and value of what it should beat, as a dashed line.

    Examples
    --------
    >>> curve = {100: Interval(0.1, 0.08, 0.12), 200: Interval(0.2, 0.18, 0.22)}
    >>> learning_curve_figure(curve, of="listeners", measured="NDCG@10")[1:4]
    b'PNG'
    """
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    ax = figure.subplots()
    sizes = sorted(curve)
    means = [curve[size].mean for size in sizes]
    below = [curve[size].mean - curve[size].low for size in sizes]
    above = [curve[size].high - curve[size].mean for size in sizes]
    ax.errorbar(sizes, means, yerr=[below, above], marker="o", capsize=3, color=OURS)
    if peer is not None:
        ax.axhline(peer[1], linestyle="--", color=QUIET, label=peer[0])
        ax.legend(frameon=False, fontsize=8)
    ax.set_xlabel(of)
    ax.set_ylabel(measured)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return png_of(figure)
