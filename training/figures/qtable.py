"""The Q-table as a heat map that a person can read: categories by bands of each dimension.

A state joins nine bands and a category: tens of thousands of cells. Here each cell is the mean over
all states that share a category and one band, so that every verdict counts once in every group of
columns.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from recommender.audio import FloatArray
from recommender.pooled import Sums
from recommender.state_sums import StateSums
from training.figures.png import png_of

BANDS = ("low", "med", "high")
GENRE = "genre"
SMALLEST = 0.1
"""Of the colours' range, so that a table of almost nothing stays pale."""


def cells_of(sums: Mapping[str, Sums]) -> tuple[list[str], list[str], FloatArray]:
    """Return categories, columns `dimension_band`, and the mean reward of each pair, else NaN.

    Examples
    --------
    >>> low, high = Sums(2.0, 1.0, 1.0), Sums(1.0, 1.0, 1.0)
    >>> cells_of({"energy_low|genre_folk": low, "energy_high|genre_folk": high})
    (['folk'], ['energy_low', 'energy_med', 'energy_high'], array([[0.5, nan, 1. ]]))
    """
    table = StateSums.from_mapping(sums)
    weights: dict[tuple[str, str], float] = {}
    rewards: dict[tuple[str, str], float] = {}
    dimensions: dict[str, None] = {}
    # Bands are read once from each name, however many states have it.
    bands_of_rests = [rest.rpartition("|")[0] for rest in table.rests]  # without the category
    for names, place in ((table.halves, table.half), (bands_of_rests, table.rest)):
        number = max(1, len(table.categories))
        pairs, row = np.unique(place * number + table.category, return_inverse=True)
        weight, reward = (np.bincount(row, table.totals[:, column]).tolist() for column in (0, 1))
        for at, pair in enumerate(pairs.tolist()):
            category = table.categories[pair % number]
            for band in filter(None, names[pair // number].split("|")):
                dimensions.setdefault(band.rpartition("_")[0])
                key = (category, band)
                weights[key] = weights.get(key, 0.0) + weight[at]
                rewards[key] = rewards.get(key, 0.0) + reward[at]
    categories = dict(
        zip(
            table.categories,
            np.bincount(table.category, table.totals[:, 0], len(table.categories)).tolist(),
            strict=True,
        )
    )
    rows = sorted(categories, key=lambda name: (-categories[name], name))
    columns = [f"{dimension}_{band}" for dimension in dimensions for band in BANDS]
    cells = np.full((len(rows), len(columns)), np.nan)
    for i, name in enumerate(rows):
        for j, column in enumerate(columns):
            if weights.get((name, column), 0.0) > 0:
                cells[i, j] = rewards[name, column] / weights[name, column]
    return rows, columns, cells


def qtable_figure(sums: Mapping[str, Sums]) -> bytes:
    """Draw the mean reward by category and band; white where nobody said anything.

    Categories stand in the order of how much was said of them.

    Examples
    --------
    >>> qtable_figure({"energy_low|genre_folk": Sums(2.0, 1.0, 1.0)})[1:4]
    b'PNG'
    """
    rows, columns, cells = cells_of(sums)
    width, height = 2.5 + 0.33 * max(3, len(columns)), 1.8 + 0.33 * max(1, len(rows))
    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.subplots()
    seen = cells[~np.isnan(cells)]
    most = max([SMALLEST, *np.abs(seen).tolist()])
    image = ax.imshow(
        cells.reshape(len(rows), len(columns)) if cells.size else np.full((1, 1), np.nan),
        cmap="RdBu",
        vmin=-most,
        vmax=most,
        aspect="auto",
    )
    ax.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows], fontsize=8)
    bands = [column.rpartition("_")[2] for column in columns]
    ax.set_xticks(range(len(columns)), bands, rotation=90, fontsize=7)
    for start in range(0, len(columns), len(BANDS)):
        ax.axvline(start - 0.5, color="white", linewidth=3)
        name = columns[start].rpartition("_")[0]
        ax.text(start + 1, -0.7, name, ha="center", va="bottom", fontsize=7)
    figure.colorbar(image, ax=ax, label="mean reward", fraction=0.03)
    return png_of(figure)
