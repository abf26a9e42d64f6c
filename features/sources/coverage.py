"""How much of the listening meets an audio profile: artists of artist_plays that are known here."""

from dataclasses import dataclass

import sqlalchemy as sa

_KNOWN = {
    "artists with tracks here": "tracked",
    "artists with audio means": "averaged",
    "either": "(tracked OR averaged)",
}

_JOIN = """
WITH artists AS (
    SELECT artist_key,
           EXISTS (SELECT FROM tracks t WHERE t.artist_key = p.artist_key) AS tracked,
           EXISTS (SELECT FROM artist_audio_features m WHERE m.artist_key = p.artist_key)
               AS averaged
    FROM (SELECT DISTINCT artist_key FROM artist_plays) p
),
heard AS (SELECT * FROM artist_plays JOIN artists USING (artist_key))
SELECT (SELECT avg(CAST({known} AS integer)) FROM artists) AS artists,
       (SELECT avg(CAST({known} AS integer)) FROM heard) AS listed,
       (SELECT sum(play_count) FILTER (WHERE {known}) / sum(play_count) FROM heard) AS plays,
       (SELECT count(*) FROM (SELECT FROM heard GROUP BY user_id HAVING NOT bool_or({known})) u)
           AS listeners_without
"""


@dataclass(frozen=True)
class Coverage:
    """One side of the join: shares of the artists heard, of (listener, artist) rows, of plays.

    Attributes
    ----------
    listeners_without
        Listeners of whose artists none is known.
    """

    by: str
    artists: float
    rows: float
    plays: float
    listeners_without: int

    def __str__(self) -> str:
        """Return one readable line.

        Examples
        --------
        >>> str(Coverage("either", 0.3, 0.731, 0.82, 0))
        'either: 30% of the artists heard, 73% of rows, 82% of plays; 0 listeners have none'
        """
        return (
            f"{self.by}: {self.artists:.0%} of the artists heard, {self.rows:.0%} of rows,"
            f" {self.plays:.0%} of plays; {self.listeners_without} listeners have none"
        )


def coverage(source: sa.Engine | sa.Connection) -> list[Coverage]:
    """Return how the artists in artist_plays join the catalogue's tracks, artist means, and either.

    Once `features.build` ran, the means include those of the catalogue's own tracks.
    """
    if isinstance(source, sa.Engine):
        with source.connect() as connection:
            return coverage(connection)
    found = []
    for by, known in _KNOWN.items():
        row = source.execute(sa.text(_JOIN.format(known=known))).one()
        shares = (float(row.artists or 0), float(row.listed or 0), float(row.plays or 0))
        found.append(Coverage(by, *shares, row.listeners_without))
    return found
