"""Example lists: a few listeners before and after, for a reviewer to look at."""

from collections.abc import Mapping, Sequence

import numpy as np

from recommender.cold_start import Stage
from recommender.tracks import Catalogue
from training.choices import Choices
from training.dataset import Dataset
from training.evaluation import Lists
from training.holdout import draw_of

CANDIDATE, BASELINE_LISTS = "candidate", "baseline"
EXAMPLES = 6
SHOWN = 10

Pair = Mapping[str, Lists]
"""CANDIDATE and BASELINE_LISTS -> what each listed for the same listeners."""


def example_lists(
    dataset: Dataset,
    served: Mapping[Stage, Pair],
    choices: Mapping[Stage, Sequence[Choices]],
    stages: Sequence[Stage],
    ids: Sequence[str],
) -> list[Mapping[str, object]]:
    """Return the lists of the listeners who gain most, lose most, and of four drawn by hash."""
    n = len(dataset.test)
    gains = np.array(
        [
            served[s][CANDIDATE].values[i, 0] - served[s][BASELINE_LISTS].values[i, 0]
            for i, s in enumerate(stages)
        ]
    )
    drawn = sorted(range(n), key=lambda i: draw_of(dataset.test[i].history.user_id, 0, "example"))
    chosen = list(dict.fromkeys([int(gains.argmax()), int(gains.argmin()), *drawn]))[:EXAMPLES]
    artists = dataset.catalogue.artist_keys
    examples: list[Mapping[str, object]] = []
    for number, i in enumerate(chosen):
        stage, one = stages[i], choices[stages[i]][i]
        named = {
            name: _named(dataset.catalogue, served[stage][name].rows[i], one)
            for name in (BASELINE_LISTS, CANDIDATE)
        }
        examples.append(
            {
                "id": ids[i],
                "why": ("gains most", "loses most")[number] if number < 2 else "drawn",
                "stage": stage.value,
                "gain": round(float(gains[i]), 6),
                "heard": [k.decode() for k in artists[one.listener.heard_artists[:8]].tolist()],
                "wanted": len(one.relevant),
                "before": named[BASELINE_LISTS],
                "after": named[CANDIDATE],
            }
        )
    return examples


def _named(catalogue: Catalogue, rows: np.ndarray, one: Choices) -> list[dict[str, object]]:
    """Return the first artists that are new to the listener, and whether each is to be found."""
    artists = catalogue.tracks.artist[rows]
    new = artists[~np.isin(artists, one.listener.heard_artists)]
    first = list(dict.fromkeys(new.tolist()))[:SHOWN]
    found = np.isin(first, one.relevant).tolist()
    names = catalogue.artist_keys[np.array(first, dtype=np.int64)].tolist()
    return [{"artist": k.decode(), "found": f} for k, f in zip(names, found, strict=True)]
