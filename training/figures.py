"""Figures that a run keeps, as PNG."""

from io import BytesIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import Scorer


def weights_figure(fitted: Scorer, before: Scorer) -> bytes:
    """Draw the weights of each stage as bars, fitted beside those before."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots(1, len(Stage), sharey=True)
    places = range(len(KEYS))
    for stage, ax in zip(Stage, axes, strict=True):
        for shift, scorer, label in ((-0.2, before, "champion"), (0.2, fitted, "fitted")):
            heights = [scorer.weights[stage][key] for key in KEYS]
            ax.bar([place + shift for place in places], heights, width=0.4, label=label)
        ax.set_title(stage.value)
        ax.set_xticks(list(places), KEYS, rotation=60, fontsize=8)
    axes[0].set_ylabel("weight")
    axes[-1].legend()
    buffer = BytesIO()
    # No software version in the file: the same weights give the same bytes.
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()
