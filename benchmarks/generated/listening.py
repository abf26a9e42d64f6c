"""Generated tracks, listeners and plays as files for COPY: any number of them, in little memory.

Listeners differ in how much they play (lognormal), return to a library of their own, and share
favourites (tracks are drawn with a skew). One track in twenty is another id of the one before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from recommender.audio import FEATURES
from recommender.genres import CATEGORY_SLUGS
from recommender.personality import TRAITS

Ints = NDArray[np.int64]

COLUMNS: dict[str, tuple[str, ...]] = {
    "tracks": ("track_id", "track_name", "artist_name", "artist_key", "title_key", "release_date",
               "duration_ms", "explicit", "popularity", "genres", "category", "source",
               "trainable"),
    "audio_features": ("track_id", *FEATURES, "loudness", "liveness", "key", "mode", "source",
                       "trainable"),
    "users": ("user_id", "created_at", "source"),
    "personality_scores": ("user_id", *TRAITS, "assessment_confidence", "assessment_method"),
    "plays": ("user_id", "track_id", "played_at", "arrived_at", "ms_played", "source", "trainable"),
}  # fmt: skip
"""Table -> its columns in the files, in the order in which tables are loaded."""

SOURCE = "generated"
_CHUNK = 500_000
_START_MS = 1_704_067_200_000  # 2024-01-01
_YEAR_MS = 31_536_000_000


@dataclass(frozen=True)
class Size:
    """How large a world is."""

    tracks: int
    plays: int
    listeners: int

    @classmethod
    def of(cls, plays: int) -> "Size":
        """Return the world of so many plays: a tenth of it tracks, 200 plays per listener.

        Examples
        --------
        >>> Size.of(10_000_000)
        Size(tracks=1000000, plays=10000000, listeners=50000)
        """
        return cls(plays // 10, plays, plays // 200)


def write_world(folder: Path, size: Size, *, seed: int = 7) -> dict[str, Path]:
    """Write one CSV file per table and return where they are."""
    rng = np.random.default_rng(seed)
    tables = {
        "tracks": _tracks(rng, size),
        "audio_features": _audio(rng, size),
        "users": _users(size),
        "personality_scores": _scores(rng, size),
        "plays": plays(np.random.default_rng([seed, 1]), size, size.plays, since_ms=_START_MS),
    }
    return {name: write(folder / f"{name}.csv", name, rows) for name, rows in tables.items()}


def write_more(folder: Path, size: Size, n: int, *, seed: int = 8) -> Path:
    """Write a file of n more plays by the same listeners, in the days after the first ones."""
    rows = plays(np.random.default_rng([seed, 1]), size, n, since_ms=_START_MS + _YEAR_MS)
    return write(folder / "more.csv", "plays", rows)


def write(path: Path, table: str, chunks: Iterator[pa.Table]) -> Path:
    """Write chunks as CSV without a header."""
    first = next(chunks)
    with csv.CSVWriter(
        path, first.schema, write_options=csv.WriteOptions(include_header=False)
    ) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(chunk)
    if len(COLUMNS[table]) != first.num_columns:
        raise ValueError(f"{table}: {first.num_columns} columns written")
    return path


def plays(rng: np.random.Generator, size: Size, n: int, *, since_ms: int) -> Iterator[pa.Table]:
    """Draw n plays, listener by listener, each listener's in the order of time.

    A listener with m plays has a library of 1 + .6 m tracks, and plays its r-th with the density
    of r^-1/3; the library's tracks are drawn with density x^-.6 over the catalogue.
    """
    activity = np.random.default_rng(size.listeners).lognormal(sigma=1.0, size=size.listeners)
    share = activity / activity.sum()
    library = (1 + 0.6 * share * size.plays).astype(np.int64)
    counts = rng.multinomial(n, share)
    span = max(86_400_000, _YEAR_MS * n // size.plays)
    upto = np.concatenate([[0], np.cumsum(counts)])
    first = 0
    while first < size.listeners:
        last = int(np.searchsorted(upto, upto[first] + _CHUNK, side="right"))
        last = min(max(last - 1, first + 1), size.listeners)
        user = np.repeat(np.arange(first, last), counts[first:last])
        first = last
        if not len(user):
            continue
        slot = (library[user] * rng.random(len(user)) ** 1.5).astype(np.int64)
        track = (size.tracks * _hashed(user, slot) ** 2.5).astype(np.int64)
        at = since_ms + rng.integers(span, size=len(user))
        order = np.lexsort((at, user))
        played_at = pa.array(at[order], pa.timestamp("ms", tz="UTC"))
        yield pa.table(
            [
                _named("listener-", user[order], 6),
                _named("generated-track-", track[order], 7),
                played_at,
                played_at,  # it came in on its day
                pa.array(rng.integers(30_000, 300_000, size=len(user))),
                *_origin(len(user)),
            ],
            names=list(COLUMNS["plays"]),
        )


def _tracks(rng: np.random.Generator, size: Size) -> Iterator[pa.Table]:
    kinds = list(CATEGORY_SLUGS)
    for start in range(0, size.tracks, _CHUNK):
        n = min(_CHUNK, size.tracks - start)
        own = np.arange(start, start + n)
        like = own - (own % 20 == 19)  # the same recording as the one before
        artist, kind = like // 10, like // 10 % len(kinds)
        names = pa.array(kinds).take(pa.array(kind))
        yield pa.table(
            [
                _named("generated-track-", own, 7),
                _named("Title ", like, 7),
                _named("Artist ", artist, 6),
                _named("artist", artist, 6),
                _named("title", like, 7),
                pa.array(rng.integers(0, 18_000, size=n).astype(np.int32), pa.date32()),
                pa.array(120_000 + like * 7919 % 240_000 + own % 2),
                pa.array(own % 7 == 0),
                pa.array(rng.integers(0, 101, size=n)),
                pc.binary_join_element_wise("{", names, "}", ""),
                names,
                *_origin(n),
            ],
            names=list(COLUMNS["tracks"]),
        )


def _audio(rng: np.random.Generator, size: Size) -> Iterator[pa.Table]:
    for start in range(0, size.tracks, _CHUNK):
        n = min(_CHUNK, size.tracks - start)
        shares = {name: rng.random(n).round(3) for name in (*FEATURES, "liveness")}
        shares["tempo"] = rng.uniform(60, 200, size=n).round(1)
        yield pa.table(
            [
                _named("generated-track-", np.arange(start, start + n), 7),
                *(pa.array(shares[name]) for name in FEATURES),
                pa.array(rng.uniform(-30, 0, size=n).round(2)),
                pa.array(shares["liveness"]),
                pa.array(rng.integers(0, 12, size=n)),
                pa.array(rng.integers(0, 2, size=n)),
                *_origin(n),
            ],
            names=list(COLUMNS["audio_features"]),
        )


def _users(size: Size) -> Iterator[pa.Table]:
    created = pa.array([_START_MS], pa.timestamp("ms", tz="UTC"))
    n = size.listeners
    yield pa.table(
        [
            _named("listener-", np.arange(n), 6),
            created.take(pa.array(np.zeros(n, dtype=np.int64))),
            pa.array([SOURCE] * n),
        ],
        names=list(COLUMNS["users"]),
    )


def _scores(rng: np.random.Generator, size: Size) -> Iterator[pa.Table]:
    n = size.listeners
    yield pa.table(
        [
            _named("listener-", np.arange(n), 6),
            *(pa.array(rng.integers(0, 101, size=n)) for _ in TRAITS),
            pa.array(np.full(n, 0.8)),
            pa.array([SOURCE] * n),
        ],
        names=list(COLUMNS["personality_scores"]),
    )


def _hashed(user: Ints, slot: Ints) -> NDArray[np.float64]:
    """Return numbers in [0, 1) that depend on (user, slot) only: the splitmix64 finaliser."""
    x = (user.astype(np.uint64) << np.uint64(32)) + slot.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


def _named(prefix: str, numbers: Ints, width: int) -> pa.Array:
    """Return 'prefix' and the number, padded to `width` digits."""
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, padding="0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _origin(n: int) -> tuple[pa.Array, pa.Array]:
    return pa.array([SOURCE] * n), pa.array(np.ones(n, dtype=bool))
