"""The import of a listener's own Spotify data: history, and feedback for learning.

The listener asked Spotify for it, so Spotify's terms for applications do not bind it; whether
models may be trained on it is theirs to say (`consent`). Everything happens in one transaction: an
import that breaks off leaves nothing, and run again it stores what it would have stored.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from features.export_feedback import learn_from
from features.imports import ALREADY_STORED, InputError, Report, copy_text, one_at_a_time, record
from features.sources import listens
from features.sources.archive import members, parsed, sha256_of_file
from features.sources.spotify_export_rows import FILES, Rows, read_rows
from features.users import ensure_user, lock, revise

SOURCE = "spotify_export"
ACCOUNT_SOURCE = "spotify_account"
"""Of the account format: its minutes are the other format's seconds, rounded down."""

REPEATED = "said more than once in the export"
UNKNOWN = "track unknown (the account format has names only)"

_BY_NAME = sa.text(
    """
    SELECT DISTINCT ON (n.artist, n.title) n.artist, n.title, t.track_id
    FROM unnest(CAST(:artists AS text[]), CAST(:titles AS text[])) AS n(artist, title)
    JOIN tracks t ON t.artist_key = n.artist AND t.title_key = n.title
    ORDER BY n.artist, n.title, t.canonical_id IS NOT NULL, t.popularity DESC NULLS LAST,
             t.track_id COLLATE "C"
    """
)


def import_spotify_export(
    engine: sa.Engine,
    path: Path,
    *,
    user_id: str,
    consent: bool = False,
    now: datetime,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Import the zip as Spotify sends it, the folder unpacked from it, or one file of it.

    Parameters
    ----------
    user_id
        The listener whose it is.
    consent
        Whether they agree that models are trained on it. Their own lists learn from it either way.
    progress
        Called with the name of each file.

    Raises
    ------
    InputError
        The input as a whole cannot be used; nothing was stored.
    """
    say = progress or (lambda _: None)
    rows = Rows(until=now + timedelta(days=1))
    with one_at_a_time(engine) as connection:
        refuse_invented_world(connection)
        ensure_user(connection, user_id, source=SOURCE, now=now)
        lock(connection, user_id)
        listens.open_stage(connection)
        for name, content in members(path, FILES):
            say(name)
            _read(name, content, rows)
            listens.stage(connection, "".join(rows.lines))
            rows.lines.clear()
        say("tracks")
        new_tracks = listens.add_tracks(
            connection, rows.tracks.values(), source=SOURCE, trainable=consent
        )
        say("plays")
        stored = _store(connection, rows, user_id, SOURCE, consent=consent, now=now)
        if rows.named:
            listens.clear(connection)
            listens.open_stage(connection)
            _stage_named(connection, rows)
            stored += _store(connection, rows, user_id, ACCOUNT_SOURCE, consent=consent, now=now)
        if stored:
            revise(connection, user_id)
        notes = [f"{new_tracks} tracks that the catalogue did not have"] if new_tracks else []
        report = Report(SOURCE, rows.read, stored, dict(+rows.skipped), tuple(notes))
        digest = sha256_of_file(path)
        record(connection, report, sha256=digest, rejects=rows.rejects, now=now)
    return report


def refuse_invented_world(connection: sa.Connection) -> None:
    """Refuse to mix a listener's real plays with a simulated world.

    Raises
    ------
    InputError
        There is one.
    """
    found = sa.text("SELECT EXISTS (SELECT FROM tracks WHERE source = 'simulated')")
    if connection.scalar(found):
        raise InputError(
            "a simulated world stands in these tables, and real plays are not mixed with it:"
            " import a catalogue first, which makes room"
        )


def _read(name: str, content: bytes, rows: Rows) -> None:
    try:
        read_rows(parsed(name, content), name, rows)
    except TypeError:
        raise InputError(
            f"{name} is no list of plays: hand over the export as Spotify sent it"
        ) from None


def _store(
    connection: sa.Connection,
    rows: Rows,
    user_id: str,
    source: str,
    *,
    consent: bool,
    now: datetime,
) -> int:
    stored = listens.store(connection, user_id, source=source, trainable=consent, now=now)
    learn_from(connection, user_id, source=source, trainable=consent, now=now)
    rows.skipped[REPEATED] += stored.repeated
    rows.skipped[ALREADY_STORED] += stored.known
    return stored.plays + stored.skips


def tracks_by_name(
    connection: sa.Connection, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Return (artist key, title key) -> the catalogue's track of that name, its canonical one."""
    keys = sorted(names)
    asked = {"artists": [artist for artist, _ in keys], "titles": [title for _, title in keys]}
    return {(a, t): track_id for a, t, track_id in connection.execute(_BY_NAME, asked)}


def _stage_named(connection: sa.Connection, rows: Rows) -> None:
    """Stage the rows that have names only, as plays of the tracks that are called so."""
    found = tracks_by_name(connection, {(artist, title) for artist, title, _, _ in rows.named})
    lines = []
    for artist, title, began, ms in rows.named:
        track_id = found.get((artist, title))
        if track_id is None:
            rows.skipped[UNKNOWN] += 1
        else:
            lines.append(f"{copy_text(track_id)}\t{began}\t{ms}\t{listens.PLAY}\n")
    listens.stage(connection, "".join(lines))
