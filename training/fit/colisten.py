"""Fitting the model `colisten` to histories: grains, then the mixes of reasons."""

from collections.abc import Sequence
from dataclasses import replace

from recommender.colisten import Colisten
from training.data.listening import Listening
from training.fit.mixes import FOCUS, CatalogueOf, fit_grains, fit_mixes


def fit_colisten(
    listenings: Sequence[Listening],
    catalogue_of: CatalogueOf,
    *,
    seed: int,
    focus: float = FOCUS,
) -> Colisten:
    """Return the model of these histories; equal seed and histories give equal bytes.

    Parameters
    ----------
    catalogue_of
        Returns the catalogue as it is known where only some of these histories are. Where genres do
        not come from the histories it returns the same for all.
    focus
        See `training.fit.mixes.FOCUS`.
    """
    by_tracks, by_artists = fit_mixes(listenings, catalogue_of, seed=seed, focus=focus)
    grains = fit_grains(listenings, catalogue_of(listenings), seed=seed)
    return replace(grains, by_tracks=by_tracks, by_artists=by_artists)
