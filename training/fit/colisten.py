"""Fitting the model `colisten` to histories: grains and the mixes of reasons, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from recommender.background import Background
from recommender.colisten import Colisten, Mix
from recommender.grain import Grain
from training.data.forks import forked
from training.data.listening import Listening
from training.fit.mixes import (
    FOCUS,
    CatalogueOf,
    fit_mixes,
    grain_of_artists,
    grain_of_tracks,
)

Task = Callable[[], Any]


def side_by_side(tasks: Sequence[Task], *, processes: int | None = None) -> list[Any]:
    """Do tasks that need nothing of each other; return what they come to.

    Parameters
    ----------
    processes
        See `training.data.forks.forked`.
    """
    return list(forked(lambda at: tasks[at](), range(len(tasks)), processes=processes))


def fit_colisten(
    listenings: Sequence[Listening],
    catalogue_of: CatalogueOf,
    *,
    seed: int,
    focus: float = FOCUS,
    processes: int | None = None,
) -> Colisten:
    """Return the model of these histories; equal seed and histories give equal bytes.

    Parameters
    ----------
    catalogue_of
        Returns the catalogue as it is known where only some of these histories are. Where genres do
        not come from the histories it returns the same for all.
    focus
        See `training.fit.mixes.FOCUS`.
    processes
        See `training.data.forks.forked`; the model does not depend on it.
    """
    fit = ColistenFit(listenings, catalogue_of, seed, focus)
    return fit.model(*side_by_side(fit.tasks, processes=processes))


@dataclass(frozen=True)
class ColistenFit:
    """The parts of a fit, the longest first."""

    listenings: Sequence[Listening]
    catalogue_of: CatalogueOf
    seed: int
    focus: float = FOCUS

    @property
    def tasks(self) -> list[Task]:
        """What `model` is made of, in its order."""
        return [self.mixes, *grain_tasks(self.listenings, seed=self.seed)]

    def mixes(self) -> tuple[Mix, Mix]:
        """Fit the mixes, by tracks and by artists."""
        return fit_mixes(self.listenings, self.catalogue_of, seed=self.seed, focus=self.focus)

    def model(self, mixes: tuple[Mix, Mix], tracks: Grain, artists: Grain) -> Colisten:
        """Return the model of what the tasks came to."""
        background = Background.of(self.catalogue_of(self.listenings).tracks)
        return Colisten(artists, tracks, background, *mixes)


def grain_tasks(listenings: Sequence[Listening], *, seed: int) -> list[Task]:
    """Return what fits the grains of tracks and of artists."""
    return [
        lambda: grain_of_tracks(listenings, seed=seed),
        lambda: grain_of_artists(listenings, seed=seed),
    ]
