"""What judging many events at once needs of their tracks and of the listener."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from recommender.audio import FEATURES, AudioArray, audio_rows
from recommender.genres import OTHER
from recommender.personality import TRAITS
from recommender.qlearning import join_state, listener_state, track_states

_AUDIO = ", ".join(f"a.{feature}" for feature in FEATURES)
_TRAITS = sa.text("SELECT * FROM get_active_personality_profile(:user_id)")


class JudgedTrack(NamedTuple):
    """A track as feedback sees it: its half of a state, category, duration and audio row."""

    half: str
    category: str
    duration_ms: int | None
    audio: AudioArray


def staged_tracks(connection: sa.Connection, table: str) -> dict[str, JudgedTrack]:
    """Return the tracks that a temporary table names in its column track_id, by id.

    The table's name is the caller's own, never input.
    """
    rows = connection.execute(
        sa.text(
            f"SELECT t.track_id, coalesce(t.category, :other), t.duration_ms, {_AUDIO}"  # noqa: S608
            f" FROM (SELECT DISTINCT track_id FROM {table}) staged JOIN tracks t USING (track_id)"
            " LEFT JOIN audio_features a USING (track_id)"
        ),
        {"other": OTHER},
    ).all()
    audio = audio_rows(np.array([row[3:] for row in rows], dtype=np.float64))
    halves, place = track_states(audio, [row[1] for row in rows])
    return {
        row[0]: JudgedTrack(halves[at], row[1], row[2], sound)
        for row, at, sound in zip(rows, place.tolist(), audio, strict=True)
    }


def whole_states(connection: sa.Connection, user_id: str, halves: Iterable[str]) -> dict[str, str]:
    """Return a track's half of a state -> the whole state for this listener as they are now."""
    found = connection.execute(_TRAITS, {"user_id": user_id}).mappings().first()
    traits = {t: found[t] / 100 for t in TRAITS if found and found[t] is not None}
    prefix = listener_state(traits)
    return {half: join_state(prefix, half) for half in halves}
