"""An artist's audio: the mean over the artist's tracks that have audio features.

Estimates take no part. The order within the means keeps their last bit from changing between two
builds; name and category are the most common ones.
"""

from datetime import datetime

import sqlalchemy as sa

from recommender.audio import FEATURES

_MEANS = ", ".join(
    f"avg(a.{feature} ORDER BY t.track_id)::real AS {feature}" for feature in FEATURES
)
_VALUES = (
    "artist_name", *FEATURES, "popularity", "category", "track_count", "source", "trainable"
)  # fmt: skip
_IS_CHANGED = "t.artist_key IN (SELECT artist_key FROM changed)"


def _statement(which: str) -> sa.TextClause:
    return sa.text(
        f"""
        INSERT INTO artist_audio_features AS m (artist_key, {", ".join(_VALUES)}, updated_at)
        SELECT t.artist_key, mode() WITHIN GROUP (ORDER BY t.artist_name), {_MEANS},
               avg(t.popularity)::real, mode() WITHIN GROUP (ORDER BY t.category), count(*),
               'tracks', bool_and(t.trainable AND a.trainable), CAST(:now AS timestamptz)
        FROM tracks t JOIN audio_features a USING (track_id)
        WHERE NOT a.estimated AND {which}
        GROUP BY t.artist_key
        ON CONFLICT (artist_key) DO UPDATE
        SET {", ".join(f"{name} = excluded.{name}" for name in (*_VALUES, "updated_at"))}
        WHERE ({", ".join(f"m.{name}" for name in _VALUES)})
            IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _VALUES)})
        """  # noqa: S608 - the names are constants of recommender.audio
    )


_ALL, _CHANGED = _statement("true"), _statement(_IS_CHANGED)
_GONE = sa.text(
    """
    DELETE FROM artist_audio_features m WHERE source = 'tracks'
      AND (:everything OR artist_key IN (SELECT artist_key FROM changed))
      AND NOT EXISTS (SELECT FROM tracks t JOIN audio_features a USING (track_id)
                      WHERE t.artist_key = m.artist_key AND NOT a.estimated)
    """
)


def refresh(connection: sa.Connection, *, everything: bool, now: datetime) -> int:
    """Take the means anew; returns how many artists changed.

    The temporary table `changed` has the artists of tracks that changed.
    """
    gone = connection.execute(_GONE, {"everything": everything}).rowcount
    return gone + connection.execute(_ALL if everything else _CHANGED, {"now": now}).rowcount
