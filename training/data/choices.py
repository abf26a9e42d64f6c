"""Choices: what a listener could be shown, judged by the same functions as in the service.

A test looks at what `recommender.candidates.propose` proposes and at nothing else. For a fit, the
best known tracks of the artists to be found join them, or half of the listeners would have none:
on real listeners kept aside, weights fitted that way found more than weights fitted to proposals
alone. The price is a bias where the catalogue is larger than the candidates: what the sources pass
over is added for being liked, so that what they look for (popularity, above all) counts too little.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.audio_index import AudioIndex
from recommender.candidates import propose
from recommender.cold_start import Stage
from recommender.components import STATIC, evaluate
from recommender.listener import Listener
from recommender.tracks import Catalogue, IndexArray, Tracks
from training.data.dataset import ColistenFor, Dataset, Example, Holdout
from training.data.forks import blocks, forked

CANDIDATES = 500
PER_ARTIST = 2
BLOCK = 40
"""Listeners whose rows a process makes at a time."""


@dataclass(frozen=True)
class Choices:
    """The n candidates of one listener at one stage.

    Attributes
    ----------
    components
        The static components, key -> (n,).
    relevant
        Places of the artists that the listener should find.
    """

    listener: Listener
    tracks: Tracks
    components: Mapping[str, FloatArray]
    relevant: IndexArray

    @property
    def is_relevant(self) -> NDArray[np.bool_]:
        """(n,), True for the tracks of artists to be found."""
        return np.isin(self.tracks.artist, self.relevant)

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """(n,), True for the tracks of artists heard before: neither a find nor a miss."""
        return np.isin(self.tracks.artist, self.listener.heard_artists)


def choices_of(
    catalogue: Catalogue,
    examples: Iterable[Example],
    *,
    size: int = CANDIDATES,
    add_relevant: bool = False,
    index: AudioIndex | None = None,
) -> Iterator[Choices]:
    """Propose and judge candidates for each listener, in the order of the examples.

    Parameters
    ----------
    add_relevant
        Whether the `PER_ARTIST` most popular tracks of each relevant artist join the candidates.
    index
        Of the catalogue, see `Dataset.index`: a large catalogue is searched as the service does.
    """
    for example in examples:
        rows, _ = propose(catalogue, example.listener, size=size, index=index)
        if add_relevant:
            rows = np.union1d(rows, catalogue.rows_by(example.relevant, most=PER_ARTIST))
        tracks = catalogue.tracks.take(rows)
        components = evaluate(example.listener, tracks)
        yield Choices(example.listener, tracks, components, example.relevant)


@dataclass(frozen=True)
class ChoiceRows:
    """What `weights.StageWeights` is fitted to: n rows, those of one list together.

    Attributes
    ----------
    columns
        Keys of the components.
    features
        (n, len(columns)) float64.
    target
        (n,) float64: 0, or how much a row was chosen, corrected for its place.
    exposure
        (n,) float64: for how many candidates a row stands, 1 / propensity.
    list, listener
        (n,) int64. A listener has the same number at every stage.
    """

    columns: tuple[str, ...]
    features: FloatArray
    target: FloatArray
    exposure: FloatArray
    list: IndexArray
    listener: IndexArray

    @property
    def is_relevant(self) -> NDArray[np.bool_]:
        """(n,), True for what was chosen."""
        return self.target > 0

    def where(self, keep: NDArray[np.bool_]) -> "ChoiceRows":
        """Return some of the rows."""
        return ChoiceRows(
            self.columns,
            self.features[keep],
            self.target[keep],
            self.exposure[keep],
            self.list[keep],
            self.listener[keep],
        )


def rows_of(choices: Iterable[Choices]) -> ChoiceRows:
    """Stack the tracks of artists not heard before; a listener is one list.

    A listener's chosen rows share a target of 1: everyone counts once, however much they played.
    Whoever has nothing relevant among their rows, or nothing else, says nothing about weights and
    drops out.
    """
    features = [np.empty((0, len(STATIC)))]
    targets = [np.empty(0)]
    numbers = []
    for number, one in enumerate(choices):
        new = ~one.is_known
        is_relevant = one.is_relevant[new]
        if is_relevant.any() and not is_relevant.all():
            features.append(np.stack([one.components[key][new] for key in STATIC], axis=1))
            targets.append(is_relevant / is_relevant.sum())
            numbers.append(number)
    target = np.concatenate(targets)
    sizes = [len(part) for part in targets[1:]]
    listener = np.repeat(np.array(numbers, dtype=np.int64), sizes)
    return ChoiceRows(
        columns=tuple(STATIC),
        features=np.concatenate(features),
        target=target,
        exposure=np.ones(len(target)),
        list=listener,
        listener=listener,
    )


def joined_rows(parts: Sequence[tuple[int, ChoiceRows]]) -> ChoiceRows:
    """Return the rows of listeners that were stacked in parts, numbered through.

    Parameters
    ----------
    parts
        The number that each part's first listener gets, and its rows; at least one.
    """
    listener = np.concatenate([first + rows.listener for first, rows in parts])
    return ChoiceRows(
        columns=parts[0][1].columns,
        features=np.concatenate([rows.features for _, rows in parts]),
        target=np.concatenate([rows.target for _, rows in parts]),
        exposure=np.concatenate([rows.exposure for _, rows in parts]),
        list=listener,
        listener=listener,
    )


def rows_to_fit(
    dataset: Dataset,
    holdouts: Sequence[Holdout],
    *,
    now: datetime,
    colisten_for: ColistenFor | None,
    processes: int | None = None,
) -> dict[Stage, ChoiceRows]:
    """Return what weights are fitted to: the rows of these listeners at each stage.

    They are the same for any number of processes, see `training.data.forks.forked`.
    """
    dataset.warm([] if colisten_for is None else map(colisten_for, holdouts))

    def of(block: range) -> list[ChoiceRows]:
        some = holdouts[block.start : block.stop]
        return [
            rows_of(
                choices_of(
                    dataset.catalogue,
                    dataset.examples(some, stage, now=now, colisten_for=colisten_for),
                    add_relevant=True,
                    index=dataset.index,
                )
            )
            for stage in Stage
        ]

    parts = blocks(len(holdouts), BLOCK) or [range(0)]
    made = list(forked(of, parts, processes=processes))
    return {
        stage: joined_rows(
            [(block.start, rows[at]) for block, rows in zip(parts, made, strict=True)]
        )
        for at, stage in enumerate(Stage)
    }
