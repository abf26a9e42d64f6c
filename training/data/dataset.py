"""The data set: each listener as the service would know them at each stage, and what is hidden.

Stages are made from histories: week_1 sees nothing, week_2_4 the first fifth of the visible artists
(of undated counts: the most played), month_2_plus all but the held-out fifth. What a stage does not
see, it should find.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property

import numpy as np
import sqlalchemy as sa

from features.listeners import listener_of
from recommender.audio_index import AudioIndex
from recommender.candidates import EXACT, warm
from recommender.cold_start import Stage
from recommender.listener import Listener
from recommender.taste import ColistenIn
from recommender.tastes import judge_together
from recommender.tracks import Catalogue, IndexArray, Tracks
from training.data.catalogue import load_trainable_catalogue
from training.data.data_parts import Part, hash_of, part_of
from training.data.drawing import Drawn, draw_listeners
from training.data.forks import blocks
from training.data.histories import ArtistCount, Histories, History, Play, read_histories
from training.data.holdout import (
    FEWEST_ARTISTS,
    by_discovery,
    early_count,
    held_out_at_random,
    held_out_latest,
    is_test,
)
from training.data.profiles import Facts, profile_of, read_facts
from training.errors import NothingTrainableError


@dataclass(frozen=True)
class Holdout:
    """A listener with a part hidden.

    Attributes
    ----------
    known
        Keys of the listener's artists that the catalogue has a track of.
    hidden
        The held-out fifth of them.
    since
        When the first hidden artist was discovered: nothing from then on is visible. None where
        the hidden artists were drawn at random.
    """

    history: History
    known: frozenset[str]
    hidden: frozenset[str]
    since: datetime | None


ColistenFor = Callable[[Holdout], ColistenIn]
TOGETHER = 40
"""Listeners that co-listening judges in one product; what it says of them is in memory at once."""


@dataclass(frozen=True)
class Example:
    """One listener at one stage: what the model sees, and the artists that it should find.

    Attributes
    ----------
    relevant
        Ascending places of artists in the catalogue, none of them among listener.heard_artists.
    """

    user_id: str
    listener: Listener
    relevant: IndexArray


@dataclass(frozen=True)
class Dataset:
    """Listeners with enough artists, parted into those that fit a model and those that test it."""

    catalogue: Catalogue
    histories: Histories
    facts: Facts
    fit: Sequence[Holdout]
    test: Sequence[Holdout]

    @cached_property
    def index(self) -> AudioIndex | None:
        """Of the catalogue; None where candidates are found by judging every track, as served."""
        is_small = len(self.catalogue) <= EXACT
        return None if is_small else AudioIndex.of(self.catalogue.tracks)

    def warm(self, models: Iterable[ColistenIn] = ()) -> None:
        """Work out what every listener is judged with, once for all processes that share it.

        Parameters
        ----------
        models
            Of co-listening, joined to this catalogue; the same may come many times.
        """
        self.catalogue.warm()
        _ = self.index, self.catalogue.canonical_genre
        for joined in {id(one): one for one in models}.values():
            joined.warm()
            warm(self.catalogue, joined)

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """All that weights are fitted to: histories, catalogue, how what was played sounds."""
        # The facts cover all that was ever played, these histories maybe a part of it.
        listeners = self.histories.listeners
        tracks = {play.track_id for one in listeners for play in one.plays}
        artists = {count.artist_key for one in listeners for count in one.counts}
        sounds = [
            *sorted((t, *self.facts.tracks[t]) for t in tracks & self.facts.tracks.keys()),
            *sorted((a, *self.facts.artists[a]) for a in artists & self.facts.artists.keys()),
        ]
        return {
            **self.histories.parts,
            "catalogue": catalogue_part(self.catalogue),
            "sounds of what was played": part_of(sounds),
        }

    @property
    def sha256(self) -> str:
        """Of all parts."""
        return hash_of(self.parts)

    def examples(
        self,
        holdouts: Sequence[Holdout],
        stage: Stage,
        *,
        now: datetime,
        colisten_for: ColistenFor | None = None,
    ) -> Iterator[Example]:
        """Yield each of these listeners at a stage, in the same order at every stage.

        Parameters
        ----------
        now
            The age of plays counts from the last visible one; where there are none, from now.
        colisten_for
            Returns the co-listening model that judges a listener: one fitted without them.
        """
        for block in blocks(len(holdouts), TOGETHER):
            some = [
                self._example(holdout, stage, now=now, colisten_for=colisten_for)
                for holdout in holdouts[block.start : block.stop]
            ]
            judge_together([one.listener.taste for one in some if one.listener.taste is not None])
            yield from some

    def _example(
        self, holdout: Holdout, stage: Stage, *, now: datetime, colisten_for: ColistenFor | None
    ) -> Example:
        plays, counts = visible(holdout, stage)
        seen = {play.artist_key for play in plays} | {count.artist_key for count in counts}
        relevant = self.catalogue.artists_of(sorted(holdout.known - seen))
        as_of = max((play.played_at for play in plays), default=now)
        profile = profile_of(
            holdout.history, plays, counts, stage=stage, facts=self.facts, as_of=as_of
        )
        listener = listener_of(
            profile,
            self.catalogue,
            now=as_of,
            q_table={},
            colisten=colisten_for(holdout) if colisten_for else None,
        )
        return Example(holdout.history.user_id, listener, np.sort(relevant))


def read_dataset(
    engine: sa.Engine,
    *,
    seed: int,
    since: datetime | None = None,
    until: datetime | None = None,
    drawn: Drawn | None = None,
) -> Dataset:
    """Read the listeners that are drawn to fit and to test, and hide a part of each of them.

    Parameters
    ----------
    drawn
        Who they are; None: they are drawn here.
    since, until
        See `training.data.histories.read_histories`.

    Raises
    ------
    NothingTrainableError
        No row may be used, or no listener has five artists of the catalogue.
    """
    drawn = drawn or draw_listeners(engine, seed=seed, since=since, until=until)
    if drawn.listeners:  # where there is nobody at all, the histories say what is in the way
        _check_enough(drawn.fit, drawn.test, drawn.listeners)
    histories = read_histories(engine, users=[*drawn.fit, *drawn.test], since=since, until=until)
    catalogue = load_trainable_catalogue(engine)
    in_catalogue = frozenset(key.decode() for key in catalogue.artist_keys.tolist())
    holdouts = [
        holdout
        for history in histories.listeners
        if (holdout := hold_out(history, in_catalogue, seed)) is not None
    ]
    fit = [h for h in holdouts if not is_test(h.history.user_id, seed)]
    test = [h for h in holdouts if is_test(h.history.user_id, seed)]
    _check_enough(fit, test, drawn.listeners)
    return Dataset(catalogue, histories, read_facts(engine), fit, test)


def _check_enough(fit: Sequence[object], test: Sequence[object], of: int) -> None:
    if not fit or not test:
        raise NothingTrainableError(
            f"too few listeners to train on: {len(fit)} to fit and {len(test)} to test with, of"
            f" {of}; one counts from {FEWEST_ARTISTS} artists of the catalogue on: import more"
        )


def hold_out(history: History, in_catalogue: frozenset[str], seed: int) -> Holdout | None:
    """Hide a fifth of a listener's artists; None where there are fewer than five.

    Dated plays of five artists or more hide the artists that were discovered last, with all that
    was played since; otherwise chance decides.
    """
    first_played = {
        artist: at for artist, at in first_plays(history.plays).items() if artist in in_catalogue
    }
    known = in_catalogue & (first_played.keys() | {c.artist_key for c in history.counts})
    if len(known) < FEWEST_ARTISTS:
        return None
    if len(first_played) < FEWEST_ARTISTS:
        hidden = held_out_at_random(known, history.user_id, seed)
        return Holdout(history, known, hidden, None)
    hidden = held_out_latest(first_played)
    return Holdout(history, known, hidden, min(first_played[artist] for artist in hidden))


def visible(holdout: Holdout, stage: Stage) -> tuple[Sequence[Play], Sequence[ArtistCount]]:
    """Return the part of a history that a stage sees."""
    if stage is Stage.WEEK_1:
        return [], []
    plays = [
        play
        for play in holdout.history.plays
        if play.artist_key not in holdout.hidden
        and (holdout.since is None or play.played_at < holdout.since)
    ]
    counts = [count for count in holdout.history.counts if count.artist_key not in holdout.hidden]
    if stage is Stage.MONTH_2_PLUS:
        return plays, counts
    first_played = first_plays(plays)
    later = by_discovery(first_played)[early_count(len(first_played)) :]
    if later:
        plays = [play for play in plays if play.played_at < first_played[later[0]]]
    counts = sorted(counts, key=lambda count: (-count.play_count, count.artist_key))
    return plays, counts[: early_count(len(counts))]


def first_plays(plays: Sequence[Play]) -> Mapping[str, datetime]:
    """Return when each artist was first played; plays come in the order of time."""
    first: dict[str, datetime] = {}
    for play in plays:
        first.setdefault(play.artist_key, play.played_at)
    return first


def catalogue_part(catalogue: Catalogue) -> Part:
    """Return the catalogue as a part of what a model is fitted to."""
    digest = hashlib.sha256()
    columns = [getattr(catalogue.tracks, field.name) for field in fields(Tracks)]
    for array in (catalogue.ids, catalogue.artist_keys, *columns):
        digest.update(f"{array.dtype} {array.shape}\n".encode() + array.tobytes())
    digest.update(repr([tuple(names) for names in catalogue.genres]).encode())
    return Part(len(catalogue), digest.hexdigest())
