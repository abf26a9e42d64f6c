"""All tracks: the components of a whole catalogue for one listener, by ways that fit so many.

Each says what the component itself says (a test holds them together): what does not depend on the
listener, or on the stage, is worked out once, and what only some tracks change, for those.
"""

from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from recommender.audio import AudioArray, FloatArray
from recommender.cold_start import Stage
from recommender.colisten import REASONS
from recommender.components import STATIC
from recommender.listener import Listener
from recommender.taste import Taste
from recommender.tracks import IndexArray, Tracks

HISTORY, NOVELTY, PERSONALITY, POPULARITY = "history", "novelty", "personality", "popularity"
"""Components that are worked out by a shorter way; all others as they are."""
TRAITS_KEPT = 32
AT_ONCE = 8192
"""Tracks whose values stay in the processor's cache."""
Z_ROUNDING = 1e-4
"""More than float32's part in z differs for being added in another order."""
NEAREST = float(np.log(1 + 1e-3))
FURTHEST = float(np.log(1e-3))
"""Between them lies `background.nearness`, and `taste.FAR` as well."""


@dataclass(frozen=True)
class AllTracks:
    """N tracks, ready to be judged for anybody."""

    tracks: Tracks

    def components(
        self, listener: Listener, keys: Collection[str] = tuple(STATIC)
    ) -> dict[str, FloatArray]:
        """Return these static components of all n tracks, key -> (n,).

        history is a sum over all that was heard: where no feature is missing, the sum over unit
        rows is taken before the product with each track, equal but for rounding (float32's 1e-7).
        novelty is that of somebody who heard nothing, but for the tracks of artists heard, and
        personality is the same at every stage.
        """
        parts: dict[str, FloatArray] = {}
        for key in keys:
            if key == POPULARITY:
                parts[key] = self._of_nobody[key]
            elif key == NOVELTY:
                parts[key] = self._novelty(listener)
            elif key == PERSONALITY:
                parts[key] = self._personality(tuple(listener.traits.items()))
            elif key != HISTORY:
                parts[key] = STATIC[key](listener, self.tracks)
        if HISTORY in keys:
            heard, weight = _unit(listener.history_audio), listener.history_weight
            if self.unit is None or heard is None or not weight.sum() > 0:
                parts[HISTORY] = STATIC[HISTORY](listener, self.tracks)
            else:
                parts[HISTORY] = np.minimum(1.0, self.unit @ (weight @ heard / weight.sum()))
        return parts

    def warm(self) -> None:
        """Work out what is the same for everybody, so that all processes share it."""
        _ = self.unit, self._of_nobody, self._by_artist, self._by_recording, self._in_parts

    def _novelty(self, listener: Listener) -> FloatArray:
        novelty = self._of_nobody[NOVELTY].copy()
        at = np.union1d(
            _members(self._by_artist, listener.heard_artists),
            _members(self._by_recording, listener.heard),
        )
        novelty[at] = STATIC[NOVELTY](listener, self.tracks.take(at))
        return novelty

    @cached_property
    def _personality(self) -> Callable[[tuple[tuple[str, float], ...]], FloatArray]:
        """Return the fit to traits; a few rows at a time stay in the processor's cache."""

        @lru_cache(maxsize=TRAITS_KEPT)
        def fit(traits: tuple[tuple[str, float], ...]) -> FloatArray:
            listener = Listener(Stage.WEEK_1, traits=dict(traits))
            return np.concatenate([STATIC[PERSONALITY](listener, few) for few in self._in_parts])

        return fit

    @cached_property
    def _in_parts(self) -> list[Tracks]:
        n = len(self.tracks)
        return [
            self.tracks.take(np.arange(begin, min(begin + AT_ONCE, n)))
            for begin in range(0, max(n, 1), AT_ONCE)
        ]

    @cached_property
    def _of_nobody(self) -> Mapping[str, FloatArray]:
        """Components of a listener who has heard nothing."""
        nobody = Listener(Stage.WEEK_1)
        return {key: STATIC[key](nobody, self.tracks) for key in (POPULARITY, NOVELTY)}

    @cached_property
    def _by_artist(self) -> tuple[IndexArray, IndexArray]:
        return _sorted(self.tracks.artist)

    @cached_property
    def _by_recording(self) -> tuple[IndexArray, IndexArray]:
        return _sorted(self.tracks.recording)

    @cached_property
    def unit(self) -> FloatArray | None:
        """(n, 7) audio rows of length 1; None where features are missing."""
        return _unit(self.tracks.audio)


def colisten_bounds(taste: Taste, tracks: Tracks) -> tuple[FloatArray, FloatArray]:
    """Return (n,) bounds of the component `colisten`: whatever nearness and release may say."""
    mix = taste.mix
    cheap = np.array([0.0 if reason in ("near", "release") else 1.0 for reason in REASONS])
    rest = copy(taste)
    rest._of_canonical = None  # what was kept holds nearness and release already
    rest.mix = replace(mix, weights=mix.weights * cheap)
    z = rest.z(tracks)
    near, release = (float(mix.weights[REASONS.index(reason)]) for reason in ("near", "release"))
    lowest = z + (near * FURTHEST - Z_ROUNDING)
    highest = z + (near * NEAREST + release + Z_ROUNDING)
    return mix.unit(lowest), mix.unit(highest)


def _unit(audio: AudioArray) -> FloatArray | None:
    rows = audio.astype(np.float64)
    length = np.sqrt((rows * rows).sum(axis=1))
    if not length.all() or np.isnan(length.sum()):
        return None
    unit: FloatArray = rows / length[:, None]
    return unit


def _sorted(code: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return codes in ascending order, and where they came from."""
    order: IndexArray = np.argsort(code, kind="stable")
    return code[order], order


def _members(sorted_codes: tuple[IndexArray, IndexArray], wanted: IndexArray) -> IndexArray:
    """Return the places of all that have one of these codes."""
    codes, order = sorted_codes
    begin, end = np.searchsorted(codes, wanted), np.searchsorted(codes, wanted, side="right")
    spans = [order[b:e] for b, e in zip(begin.tolist(), end.tolist(), strict=True)]
    return np.concatenate(spans) if spans else order[:0]
