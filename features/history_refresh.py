"""A listener's history brought up to date from Spotify; what is in the way is said, never raised.

Nothing from the Web API is trainable. What a limit puts off is written down and taken up later
(`due`); meanwhile everybody is served from what is stored.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from features.imports import ALREADY_STORED, InputError, Report, merge, record
from features.music_agent import Collected, collect_data
from features.sources import listens, postponed, spotify_grants
from features.sources.errors import NeedsReauthError, NotConfiguredError
from features.sources.spotify import HISTORY_AFTER, SOURCE
from features.sources.spotify_access import SpotifyAccess
from features.sources.spotify_export import refuse_invented_world
from features.sources.spotify_transport import Patience
from features.sources.terms import SourceTrack
from features.users import ensure_user, lock, revise
from recommender.audio import FEATURES

AUDIO_COLUMNS = (
    "track_id", *FEATURES, "loudness", "liveness", "key", "mode", "source", "trainable",
)  # fmt: skip
TRY_AGAIN_AFTER = timedelta(minutes=15)
"""Where Spotify did not answer and did not say when it will."""


class State(StrEnum):
    """How a refresh ended."""

    FRESH = "fresh"
    NEEDS_REAUTH = "needs_reauth"
    POSTPONED = "postponed"
    NOT_CONFIGURED = "not_configured"


@dataclass(frozen=True)
class Refreshed:
    """What a refresh came to.

    Attributes
    ----------
    report
        Of the plays: read = stored + skipped.
    message
        What is in the way, empty where nothing is.
    without
        What else was not to be had -> why.
    not_before
        When postponed work is taken up again.
    recommended
        Ids of the tracks that Spotify recommends, best first; None where it was not asked or did
        not say.
    """

    state: State
    report: Report
    message: str = ""
    without: Mapping[str, str] = field(default_factory=dict)
    not_before: datetime | None = None
    recommended: Sequence[str] | None = None


def refresh(
    engine: sa.Engine,
    access: SpotifyAccess,
    user_id: str,
    *,
    token: str | None = None,
    patience: Patience,
    now: datetime,
    with_candidates: bool = True,
) -> Refreshed:
    """Refresh a listener's history with a token passed in, or with the stored grant."""
    try:
        if token is not None:
            source = access.with_token(user_id, token, patience)
        else:
            source = access.with_grant(user_id, patience)
        collected = collect_data(
            source,
            after=_known_until(engine, user_id),
            lacks_audio=lambda ids: without_audio(engine, ids),
            with_candidates=with_candidates,
        )
        report = _store(engine, user_id, collected, now=now)
    except NotConfiguredError as error:
        return Refreshed(State.NOT_CONFIGURED, _nothing(), str(error))
    except NeedsReauthError as error:
        return Refreshed(State.NEEDS_REAUTH, _nothing(), str(error))
    recommended = [track.track_id for track in collected.recommended] or None
    if "recent_plays" not in collected.without and collected.limited_until is None:
        return Refreshed(State.FRESH, report, without=collected.without, recommended=recommended)
    not_before = collected.limited_until or now + TRY_AGAIN_AFTER
    reason = next(iter(collected.without.values()))
    with engine.begin() as connection:
        postponed.put_off(
            connection, user_id, postponed.HISTORY, not_before=not_before, reason=reason
        )
    return Refreshed(State.POSTPONED, report, reason, collected.without, not_before, recommended)


def due(engine: sa.Engine, *, now: datetime) -> list[str]:
    """Return whose history is to be refreshed with their grant: put off, or older than 6 hours."""
    with engine.connect() as connection:
        waiting = postponed.due(connection, postponed.HISTORY, now=now)
        old = spotify_grants.due_grants(connection, before=now - HISTORY_AFTER)
        granted = set(
            connection.scalars(sa.text("SELECT user_id FROM spotify_grants WHERE state = 'active'"))
        )
    return [user for user in dict.fromkeys([*waiting, *old]) if user in granted]


def refresh_due(
    engine: sa.Engine,
    access: SpotifyAccess,
    *,
    now: Callable[[], datetime],
    progress: Callable[[str], None] | None = None,
) -> dict[str, Refreshed]:
    """Refresh everybody who is due, one after another; a long limit ends the round at once.

    The others stay due: the next round takes them up.
    """
    done: dict[str, Refreshed] = {}
    for user_id in due(engine, now=now()):
        if progress:
            progress(user_id)
        done[user_id] = refreshed = refresh(engine, access, user_id, patience=Patience(), now=now())
        if refreshed.state in (State.POSTPONED, State.NOT_CONFIGURED):
            break
    return done


def without_audio(engine: sa.Engine, track_ids: Sequence[str]) -> list[str]:
    """Return which of these tracks have no audio features, or estimates only."""
    statement = (
        "SELECT id FROM unnest(CAST(:ids AS text[])) AS id WHERE NOT EXISTS"
        " (SELECT FROM audio_features a WHERE a.track_id = id AND NOT a.estimated)"
    )
    with engine.connect() as connection:
        return list(connection.scalars(sa.text(statement), {"ids": list(track_ids)}))


def store_audio(
    connection: sa.Connection, collected: Mapping[str, Mapping[str, object]], *, now: datetime
) -> int:
    """Store audio features that Spotify gave, also in the place of estimates; return how many."""
    rows = [
        (track_id, *(values.get(name) for name in AUDIO_COLUMNS[1:-2]), SOURCE, False)
        for track_id, values in collected.items()
    ]
    known = sa.text("SELECT track_id FROM tracks WHERE track_id = ANY(:ids)")
    ids = set(connection.scalars(known, {"ids": [row[0] for row in rows]}))
    rows = [row for row in rows if row[0] in ids]
    return len(merge(connection, "audio_features", AUDIO_COLUMNS, rows, key="track_id", now=now))


def _known_until(engine: sa.Engine, user_id: str) -> datetime | None:
    statement = (
        "SELECT max(played_at + ms_played * interval '1 millisecond') FROM plays"
        " WHERE user_id = :user_id AND source = :source"
    )
    with engine.connect() as connection:
        asked = {"user_id": user_id, "source": SOURCE}
        found: datetime | None = connection.scalar(sa.text(statement), asked)
    return found


def _store(engine: sa.Engine, user_id: str, collected: Collected, *, now: datetime) -> Report:
    history = collected.history
    skipped = Counter(history.skipped)
    tracks = {t.track_id: t for t in (*(p.track for p in history.plays), *collected.top_tracks)}
    tracks = {t.track_id: t for t in collected.candidates} | tracks
    named = [_with_genres(track, collected) for track in tracks.values()]
    with engine.begin() as connection:
        try:
            refuse_invented_world(connection)
        except InputError as error:
            raise NotConfiguredError(str(error)) from None
        ensure_user(connection, user_id, source=SOURCE, now=now)
        lock(connection, user_id)
        new = listens.add_tracks(connection, named, source=SOURCE, trainable=False)
        listens.open_stage(connection)
        listens.stage(
            connection,
            "".join(
                f"{p.track.track_id}\t{p.played_at.isoformat()}\t{p.ms_played}\t{listens.PLAY}\n"
                for p in history.plays
            ),
        )
        stored = listens.store(connection, user_id, source=SOURCE, trainable=False, now=now)
        audio = store_audio(connection, collected.audio, now=now)
        if "recent_plays" not in collected.without:
            spotify_grants.mark_refreshed(connection, user_id, now=now)
            postponed.done(connection, user_id, postponed.HISTORY)
        if stored.plays:
            revise(connection, user_id)
        skipped[ALREADY_STORED] += stored.known + stored.repeated
        read = stored.plays + sum(skipped.values())
        notes = (f"{new} tracks and the audio features of {audio} that were not known",)
        report = Report(SOURCE, read, stored.plays, dict(+skipped), notes)
        if read:
            record(connection, report, sha256="", now=now)
    return report


def _with_genres(track: SourceTrack, collected: Collected) -> SourceTrack:
    genres = [g for a in track.artist_ids[:1] for g in collected.artist_genres.get(a, ())]
    return replace(track, genres=tuple(genres), release_date=_date(track.release_date))


def _date(text: str | None) -> str | None:
    """Return a release date that may lack its month and day as a whole one.

    Examples
    --------
    >>> _date("1999-07"), _date("1975"), _date("0000"), _date("soon")
    ('1999-07-01', '1975-01-01', None, None)
    """
    if not text:
        return None
    padded = f"{text}-01-01" if len(text) == 4 else f"{text}-01" if len(text) == 7 else text
    try:
        return datetime.strptime(padded, "%Y-%m-%d").date().isoformat()  # noqa: DTZ007 - a day
    except ValueError:
        return None


def _nothing() -> Report:
    return Report(SOURCE, 0, 0, {})
