"""Tracks out of Spotify-like rows: one per track id, with the genres of all its playlists."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from features.imports import Reject
from features.sources.cells import RejectedError
from features.sources.files import Table
from features.sources.spotify_columns import COLUMNS, places, read_row


@dataclass
class Track:
    """One track: its first good row's values, and how many playlists carry each genre."""

    values: dict[str, object]
    playlists: dict[tuple[str, str], set[object]] = field(default_factory=dict)

    def add(self, playlist: object, kind: str, genres: Iterable[str]) -> None:
        """Count a playlist for each of its genres, once."""
        for genre in genres:
            self.playlists.setdefault((kind, genre), set()).add(playlist)

    @property
    def genres(self) -> list[str]:
        """Subgenres, then genres; each by the number of playlists, ties by name.

        Examples
        --------
        >>> track = Track({})
        >>> track.add("p1", "genre", ["pop"]); track.add("p1", "subgenre", ["dance-pop"])
        >>> track.add("p2", "genre", ["pop"]); track.add("p2", "subgenre", ["electropop"])
        >>> track.add("p3", "subgenre", ["electropop"])
        >>> track.genres
        ['electropop', 'dance-pop', 'pop']
        """
        ranked = sorted(
            self.playlists.items(),
            key=lambda item: (item[0][0] != "subgenre", -len(item[1]), item[0][1]),
        )
        return list(dict.fromkeys(genre for (_, genre), _ in ranked))


@dataclass
class Tracks:
    """What a file says of tracks; read = tracks + merged + rejects."""

    by_id: dict[str, Track] = field(default_factory=dict)
    read: int = 0
    merged: int = 0
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_tracks(table: Table) -> Tracks:
    """Read a file of Spotify-like rows into one entry per track id.

    Raises
    ------
    InputError
        A required column is missing, or the file is damaged.
    """
    where = places(table)
    absent = [name for name in COLUMNS if name not in where]
    tracks = Tracks(notes=[f"no column for {', '.join(absent)}: left empty"] if absent else [])
    for line, row in table.rows:
        tracks.read += 1
        try:
            values = read_row(row, where)
        except RejectedError as error:
            entry = {"line": line, **dict(zip(table.columns, row, strict=True))}
            tracks.rejects.append(Reject(str(error), entry))
            continue
        track_id = str(values["track_id"])
        if track_id in tracks.by_id:
            tracks.merged += 1
        track = tracks.by_id.setdefault(track_id, Track(values))
        for kind in ("subgenre", "genre"):
            carried: Any = values.get(kind, ())
            track.add(values.get("playlist") or line, kind, carried)
    return tracks
