"""The Last.fm import: listeners' play counts per artist, in the layout of HetRec 2011.

The counts have no dates, so they are no plays: they stand in artist_plays.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from features.imports import (
    ALREADY_STORED,
    InputError,
    Reject,
    Report,
    append,
    merge,
    one_at_a_time,
    record,
)
from features.sources.cells import RejectedError, text, whole
from features.sources.coverage import coverage
from features.sources.files import Table, find, read_table, sha256_of
from features.sources.names import name_key

SOURCE = "lastfm"
USER_ARTISTS, ARTISTS = "lastfm_user_artists.csv.gz", "lastfm_artists.csv.gz"

ANOTHER_SPELLING = "same artist under another spelling"
REPEATED = "listener and artist repeated"

COLUMNS = ("user_id", "artist_key", "artist_name", "play_count", "source", "trainable")


def import_lastfm(
    engine: sa.Engine, path: Path, *, trainable: bool = True, now: datetime
) -> Report:
    """Import a folder with lastfm_user_artists.csv.gz and lastfm_artists.csv.gz (packed or not).

    A listener is ``lastfm-<userID>``. Counts of two artists with the same key are added up. The
    notes say how much of the listening joins the catalogue.

    Parameters
    ----------
    path
        The folder of BONDHU_DATA.
    trainable
        May models be trained on these rows?
    now
        The listeners' created_at, at their first import.

    Raises
    ------
    InputError
        The input as a whole cannot be used; nothing was stored.
    """
    files = [_file(path, name) for name in (USER_ARTISTS, ARTISTS)]
    counts = read_counts(read_table(files[0]), read_names(read_table(files[1])))
    with one_at_a_time(engine) as connection:
        users = dict.fromkeys(user_id for user_id, _ in counts.plays)
        listeners = ((user_id, now, SOURCE) for user_id in users)
        append(connection, "users", ("user_id", "created_at", "source"), listeners)
        rows = (
            (user_id, key, counts.names[key], count, SOURCE, trainable)
            for (user_id, key), count in counts.plays.items()
        )
        key = "user_id, artist_key, source"
        stored = len(merge(connection, "artist_plays", COLUMNS, rows, key=key))
        skipped = counts.skipped + Counter({ALREADY_STORED: len(counts.plays) - stored})
        notes = tuple(map(str, coverage(connection)))
        report = Report(SOURCE, counts.read, stored, dict(skipped), notes)
        record(connection, report, sha256=sha256_of(files), rejects=counts.rejects, now=now)
    return report


@dataclass
class Counts:
    """What the files say: plays by (user_id, artist_key); read = plays + skipped."""

    plays: dict[tuple[str, str], int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)


def read_names(table: Table) -> dict[str, str]:
    """Return each artist's name by its id in the file; an artist without a name is left out."""
    id_at, name_at = table.place("id"), table.place("name")
    named = ((row[id_at].strip(), row[name_at].strip()) for _, row in table.rows)
    return {artist_id: name for artist_id, name in named if name and "\0" not in name}


def read_counts(table: Table, names: dict[str, str]) -> Counts:
    """Add up the counts per listener and artist key; an artist is called as it was first met.

    Raises
    ------
    InputError
        A column is missing, or the file is damaged.
    """
    user_at, artist_at, weight_at = map(table.place, ("userid", "artistid", "weight"))
    counts, seen = Counts(), set()
    for line, row in table.rows:
        counts.read += 1
        try:
            user_id = f"{SOURCE}-{text('userID', row[user_at], longest=100)}"
            artist_id = text("artistID", row[artist_at])
            if artist_id not in names:
                raise RejectedError(
                    f"artistID is not in {ARTISTS.partition('.')[0]}, or has no name"
                )
            weight = whole("weight", row[weight_at], low=1, high=2**53)
            if weight is None:
                raise RejectedError("weight is missing")
        except RejectedError as error:
            entry = {"line": line, **dict(zip(table.columns, row, strict=True))}
            counts.rejects.append(Reject(str(error), entry))
            counts.skipped[str(error)] += 1
            continue
        if (user_id, artist_id) in seen:
            counts.skipped[REPEATED] += 1
            continue
        seen.add((user_id, artist_id))
        key = name_key(names[artist_id])
        counts.names.setdefault(key, names[artist_id])
        if (user_id, key) in counts.plays:
            counts.skipped[ANOTHER_SPELLING] += 1
        counts.plays[user_id, key] = counts.plays.get((user_id, key), 0) + weight
    return counts


def _file(folder: Path, name: str) -> Path:
    found = find(folder, name)
    if found is None:
        raise InputError(
            f"{folder} has no {name}: name the folder that has {USER_ARTISTS} and {ARTISTS}"
        )
    return found
