"""Example lists: a few listeners before and after, for a reviewer to look at."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from recommender.cold_start import Stage
from recommender.tracks import IndexArray
from training.data.dataset import Dataset, Example
from training.data.holdout import draw_of
from training.evaluation.listed import Pair

CANDIDATE, BASELINE_LISTS = "candidate", "baseline"
EXAMPLES = 6
SHOWN = 10


def example_lists(
    dataset: Dataset,
    served: Mapping[Stage, Pair],
    stages: Sequence[Stage],
    ids: Sequence[str],
    *,
    now: datetime,
    artist_names: Mapping[str, str],
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
    keys = [key.decode() for key in dataset.catalogue.artist_keys.tolist()]
    names = [artist_names.get(key, key) for key in keys]
    artist = dataset.catalogue.tracks.artist
    examples: list[Mapping[str, object]] = []
    for number, i in enumerate(chosen):
        stage = stages[i]
        one = next(dataset.examples([dataset.test[i]], stage, now=now))
        named = {
            name: _named(artist[served[stage][name].rows[i]], names, one)
            for name in (BASELINE_LISTS, CANDIDATE)
        }
        examples.append(
            {
                "id": ids[i],
                "why": ("gains most", "loses most")[number] if number < 2 else "drawn",
                "stage": stage.value,
                "gain": round(float(gains[i]), 6),
                "heard": [names[place] for place in one.listener.heard_artists[:8].tolist()],
                "wanted": len(one.relevant),
                "before": named[BASELINE_LISTS],
                "after": named[CANDIDATE],
            }
        )
    return examples


def _named(artists: IndexArray, names: Sequence[str], one: Example) -> list[dict[str, object]]:
    """Return the first artists that are new to the listener, and whether each is to be found."""
    new = artists[~np.isin(artists, one.listener.heard_artists)]
    first = list(dict.fromkeys(new.tolist()))[:SHOWN]
    found = np.isin(first, one.relevant).tolist()
    return [
        {"artist": names[place], "found": is_found}
        for place, is_found in zip(first, found, strict=True)
    ]
