"""Planted worlds in Postgres: what listeners play follows one rule that training must find."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa

from features.database import mlflow_uri
from recommender.audio import FEATURES

if TYPE_CHECKING:
    from training.registry import Registry

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ARTISTS = 60

Row = dict[str, Any]


class World:
    """Writes artists, listeners and plays; artist n is called `artist00n` and has two tracks."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def plant(self, *, listeners: int = 60, seed: int = 1, follows: str = "sound") -> None:
        """Add artists of two sounds, and listeners who play 20 of one sound, or what is known.

        Where sound decides, popularity means nothing; where popularity decides, sound means
        nothing.
        """
        rng = np.random.default_rng(seed)
        kind = rng.permutation(np.arange(ARTISTS) % 2)
        popularity = rng.permutation(np.linspace(1, 99, ARTISTS)).astype(int)
        # Two directions, not two lengths: a cosine must see the difference.
        sounds = np.where(np.arange(7) % 2 == kind[:, None], 0.85, 0.15)
        sounds = np.clip(sounds + rng.normal(0, 0.05, sounds.shape), 0.01, 1)
        for number in range(ARTISTS):
            self.add_artist(number, sounds[number], int(popularity[number]))
        counts = []
        for user in range(listeners):
            if follows == "sound":
                played = rng.choice(np.flatnonzero(kind == user % 2), 20, replace=False)
            else:
                chance = np.exp(popularity / 12.0)
                played = rng.choice(ARTISTS, 20, replace=False, p=chance / chance.sum())
            self.add_listener(f"user{user:03}")
            counts += [
                _count(f"user{user:03}", n, int(rng.integers(1, 50))) for n in played.tolist()
            ]
        self._insert("artist_plays", counts)

    def add_artist(
        self,
        number: int,
        sound: np.ndarray,
        popularity: int,
        *,
        source: str = "planted",
        trainable: bool = True,
    ) -> None:
        audio: Row = dict(zip(FEATURES, (float(x) for x in sound), strict=True))
        audio["tempo"] = 50 + 150 * audio["tempo"]
        origin = {"source": source, "trainable": trainable}
        named = {"artist_name": _artist(number), "artist_key": _artist(number)}
        ids = [f"{_artist(number)}-{place}" for place in range(2)]
        self._insert(
            "tracks",
            [
                {"track_id": i, "track_name": i, "popularity": popularity} | named | origin
                for i in ids
            ],
        )
        self._insert("audio_features", [{"track_id": i} | audio | origin for i in ids])
        self._insert("artist_audio_features", [{"track_count": 2} | named | audio | origin])

    def add_listener(self, user_id: str) -> None:
        self._insert("users", [{"user_id": user_id, "created_at": NOW, "source": "planted"}])

    def count_plays(
        self,
        user_id: str,
        number: int,
        play_count: int,
        *,
        source: str = "planted",
        trainable: bool = True,
    ) -> None:
        row = _count(user_id, number, play_count) | {"source": source, "trainable": trainable}
        self._insert("artist_plays", [row])

    def play(self, user_id: str, number: int, day: int, *, trainable: bool = True) -> None:
        """Add a play of an artist's first track, so many days after the first of January 2026."""
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        track_id = f"{_artist(number)}-0"
        with self._engine.begin() as connection:
            connection.execute(
                sa.text("SELECT upsert_listening_history(:user, :track, :at, 200000, 'planted')"),
                {"user": user_id, "track": track_id, "at": at},
            )
            connection.execute(
                sa.text("UPDATE plays SET trainable = :t WHERE user_id = :u AND played_at = :at"),
                {"t": trainable, "u": user_id, "at": at},
            )

    def _insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = list(rows[0])
        values = ", ".join(f":{column}" for column in columns)
        with self._engine.begin() as connection:
            connection.execute(
                sa.text(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"),
                list(rows),
            )


def _artist(number: int) -> str:
    return f"artist{number:03}"


def _count(user_id: str, number: int, play_count: int) -> Row:
    return {
        "user_id": user_id,
        "artist_name": _artist(number),
        "artist_key": _artist(number),
        "play_count": play_count,
        "source": "planted",
        "trainable": True,
    }


@pytest.fixture
def registry(engine: sa.Engine, mlflow_tables: None, tmp_path: Path) -> "Registry":
    from training.registry import Registry  # noqa: PLC0415 - MLflow takes seconds to import

    # MLflow remembers the addresses whose first rows it wrote; the last test's are gone.
    uri = mlflow_uri(engine.url.render_as_string(hide_password=False))
    return Registry(f"{uri}&application_name={uuid4().hex}", tmp_path / "with a space")


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)
