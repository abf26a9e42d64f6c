"""The weights of the score, fitted beside those before."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import Scorer
from training.figures.png import BEFORE, OURS, png_of

Bounds = Mapping[str, tuple[float, float]]
"""Component -> (low, high)."""


def weights_figure(
    fitted: Scorer, before: Scorer, intervals: Mapping[Stage, Bounds] | None = None
) -> bytes:
    """Draw the weights of each stage as bars, fitted beside those before.

    Parameters
    ----------
    intervals
        Of the fitted weights, where they are known.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, len(Stage), sharey=True)
    places = range(len(KEYS))
    for stage, ax in zip(Stage, axes, strict=True):
        for shift, scorer, label, colour in (
            (-0.2, before, "champion", BEFORE),
            (0.2, fitted, "fitted", OURS),
        ):
            heights = [scorer.weights[stage][key] for key in KEYS]
            ax.bar(
                [place + shift for place in places], heights, width=0.4, label=label, color=colour
            )
        for key, (low, high) in ((intervals or {}).get(stage) or {}).items():
            at = KEYS.index(key) + 0.2
            ax.plot([at, at], [low, high], color="black", linewidth=1.2)
        ax.set_title(stage.value)
        ax.set_xticks(list(places), KEYS, rotation=60, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("weight")
    axes[-1].legend(frameon=False, fontsize=8)
    return png_of(figure)
