"""The caches in Redis, and life without it.

Redis holds nothing that Postgres does not: every failure to reach it is the one branch `_without`,
counted in a metric, and the answer is computed from Postgres instead. Values are MessagePack; one
that another release wrote and this one cannot read counts as absent.

| database | key | holds | lives |
|---|---|---|---|
| 0 | lists:{user} | per cache key the list with its reserves, and their revision | 24 h |
| 0 | pools:{user} | per cache key the candidates and their components | 24 h |
| 0 | calls:{user} | the times of the calls of the last minute | 1 min |
| 0 | turn:{user} | who computes a list for the listener now | 5 s |
| 3 | profile:{user} | what is known of the listener | 30 min |
| 3 | q:{user} | the Q-table and the log's number that it holds | 24 h |
| 3 | near:{user} | the tracks that Spotify recommends | 6 h |
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
import redis
from redis.commands.core import Script

from features.interactions import QState
from features.listeners import Profile
from features.redis_server import connect, tagged
from serving.caches import (
    API,
    KINDS,
    PROFILE_SECONDS,
    RECOMMENDATIONS,
    USER_DATA,
    NamedCache,
    drop,
    glob,
    memory_bytes,
)
from serving.metrics import DEGRADED

LIST_SECONDS = RECOMMENDATIONS.seconds
_NOBODY: Any = None  # scripts here are run by the client of the moment

log = logging.getLogger("bondhu.cache")

T = TypeVar("T")
Call = tuple[list[str], list[bytes | str | int]]
"""The keys and the arguments of a script."""

FIELDS = 16
"""Lists or pools of one listener kept at a time: genres, contexts, versions."""

# Keeps the revision in place of the lists: one computed before it comes too late.
_OUTDATE = """
if tonumber(redis.call('HGET', KEYS[1], 'revision') or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
# A Q-table never goes back: the later event wins, whichever worker comes first.
_KEEP_Q = """
local known = redis.call('HGET', KEYS[1], 'seq')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'state', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
# Both of the above in one, after a feedback. Off a cluster lists have a database of their own; the
# script's SELECT ends with it.
_LEARNED = """
local known = redis.call('HGET', KEYS[1], 'seq')
if not known or tonumber(known) < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'state', ARGV[2])
    redis.call('EXPIRE', KEYS[1], ARGV[3])
end
if ARGV[6] ~= '' then redis.call('SELECT', ARGV[6]) end
if tonumber(redis.call('HGET', KEYS[2], 'revision') or 0) >= tonumber(ARGV[4]) then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'revision', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""
_READ, _KEEP = (
    files("serving").joinpath(name).read_text(encoding="utf-8") for name in ("read.lua", "keep.lua")
)


def reserves_of(field: str) -> str:
    """Return the field of a list's reserves."""
    return f"{field}|reserves"


class KeptProfile(msgspec.Struct, frozen=True):
    """A profile with the revision and feature build that it was read at."""

    basis: str
    profile: Profile


class Found(msgspec.Struct, frozen=True):
    """What a computation finds of a listener.

    Attributes
    ----------
    near
        The ids of the tracks that Spotify recommends, best first.
    pool
        Candidates and components.
    """

    profile: Profile | None = None
    q: QState | None = None
    near: list[str] = []
    pool: bytes | None = None


class Left(msgspec.Struct, frozen=True):
    """What a computation leaves; None: nothing new.

    Attributes
    ----------
    packed
        The list and its reserves.
    profile
        With the basis that it was read at.
    """

    packed: tuple[bytes, bytes] | None = None
    pool: bytes | None = None
    profile: KeptProfile | None = None


class Cache:
    """Everything that a computation reads or leaves behind; used from threads.

    Parameters
    ----------
    connections
        Per database.
    cluster
        Whether Redis is a cluster.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        cluster: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._url, self._connections = url, connections
        self._clients: dict[int, redis.Redis] = {}
        self._cluster = cluster
        self._outdate = Script(_NOBODY, _OUTDATE.encode())
        self._keep_q = Script(_NOBODY, _KEEP_Q.encode())
        self._learned = Script(_NOBODY, _LEARNED.encode())
        self._read = Script(_NOBODY, _READ.encode())
        self._keep = Script(_NOBODY, _KEEP.encode())
        self.recommendations, self.audio_features, self.api, self.user_data = (
            NamedCache(kind, partial(self.client, kind.db), now=now) for kind in KINDS
        )
        self.has_missed = False
        """Whether lists could not be outdated, so that Postgres must be asked which."""

    def client(self, db: int) -> redis.Redis:
        """Return the client of a database; on a cluster all have the same.

        Raises
        ------
        redis.RedisError
            A cluster is away: its nodes are asked for at the first use.
        """
        at = 0 if self._cluster else db
        found = self._clients.get(at)
        if found is None:
            found = self._clients[at] = connect(
                self._url, at, connections=self._connections, cluster=self._cluster
            )
        return found

    @property
    def databases_open(self) -> tuple[redis.Redis, ...]:
        """The clients that were needed so far."""
        return tuple(self._clients.values())

    def reopen(self, *, cluster: bool) -> None:
        """Use another kind of client from now on."""
        self.close()
        self._cluster = cluster

    @property
    def named(self) -> tuple[NamedCache, ...]:
        """The four caches."""
        return (self.recommendations, self.audio_features, self.api, self.user_data)

    @property
    def databases(self) -> tuple[redis.Redis, ...]:
        """The clients of all databases, each once."""
        return tuple({id(c): c for c in (self.client(kind.db) for kind in KINDS)}.values())

    def _without(self, command: Callable[[], Any]) -> Any:
        """Run a command; None while Redis is away."""
        try:
            return command()
        except redis.RedisError as error:
            DEGRADED.labels("redis").inc()
            log.debug("Redis is away: %s", error)
            return None

    def _decoded(self, found: object, type_: type[T]) -> T | None:
        if not isinstance(found, bytes):
            return None
        try:
            return msgspec.msgpack.decode(found, type=type_)
        except msgspec.DecodeError:
            DEGRADED.labels("redis_value").inc()
            return None

    def outdate_lists(self, user_id: str, revision: int) -> bool:
        """Drop the lists of an older revision; return False while Redis is away."""
        args: list[bytes | str | int] = [revision, 2 * LIST_SECONDS]
        done = self._run(self._outdate, RECOMMENDATIONS.db, [tagged("lists", user_id)], args)
        self.has_missed = self.has_missed or done is None
        return done is not None

    def read(self, user_id: str, field: str, basis: str | None) -> Found:
        """Return what a computation starts from, in one round trip.

        Parameters
        ----------
        field
            That candidates are kept under.
        basis
            That the profile must have been read at; None: none is wanted.
        """
        keys = [tagged(prefix, user_id) for prefix in ("profile", "q", "near", "pools")]
        args: list[bytes | str | int] = [field, "" if self._cluster else RECOMMENDATIONS.db]
        found = self._run(self._read, USER_DATA.db, keys, args)
        profile, q, near, pool = found or (None, None, None, None)
        return Found(
            None if basis is None else self._profile(profile, basis),
            self._decoded(q, QState),
            self._decoded(near, list[str]) or [],
            pool if isinstance(pool, bytes) else None,
        )

    def keep(self, user_id: str, field: str, left: Left, revision: int) -> None:
        """Keep what a computation leaves, in one round trip.

        Of a listener who was revised since `revision`, the list is not kept.
        """
        self.keep_all([(user_id, field, left, revision)])

    def keep_all(self, lefts: Iterable[tuple[str, str, Left, int]]) -> None:
        """Do `keep` for many listeners, in one round trip where their keys lie on one server."""
        calls = [self._keeping(*left) for left in lefts]
        if not calls:
            return
        db = RECOMMENDATIONS.db
        if self._cluster or len(calls) == 1:
            for keys, args in calls:
                self._run(self._keep, db, keys, args)
            return

        def run() -> None:
            with self.client(db).pipeline(transaction=False) as pipeline:
                for keys, args in calls:
                    self._keep(keys=keys, args=args, client=pipeline)
                pipeline.execute()

        self._without(run)

    def _keeping(self, user_id: str, field: str, left: Left, revision: int) -> Call:
        shown, reserves = left.packed or ("", "")
        keys = [tagged(prefix, user_id) for prefix in ("lists", "pools", "profile")]
        args: list[bytes | str | int] = [field, LIST_SECONDS, revision, 2 * FIELDS, shown]
        args += [reserves_of(field), reserves, FIELDS, left.pool or ""]
        args += ["" if self._cluster else USER_DATA.db, PROFILE_SECONDS]
        args.append(msgspec.msgpack.encode(left.profile) if left.profile else "")
        return keys, args

    def _profile(self, found: object, basis: str) -> Profile | None:
        """Return a profile as it was kept, if it was read at this basis; counted."""
        kept = self._decoded(found, KeptProfile)
        profile = kept.profile if kept and kept.basis == basis else None
        self.user_data.count("miss" if profile is None else "hit")
        return profile

    def q_state(self, user_id: str) -> QState | None:
        """Return the cached Q-table; the caller compares its seq with the log's."""
        key = tagged("q", user_id)
        found = self._without(lambda: self.client(USER_DATA.db).hget(key, "state"))
        return self._decoded(found, QState)

    def store_q_state(self, user_id: str, q: QState) -> None:
        """Keep a Q-table, unless a later one is kept already."""
        args: list[bytes | str | int] = [q.seq, msgspec.msgpack.encode(q), LIST_SECONDS]
        self._run(self._keep_q, USER_DATA.db, [tagged("q", user_id)], args)

    def store_learned(self, user_id: str, q: QState, revision: int) -> None:
        """Do `store_q_state` and `outdate_lists` in one round trip."""
        args: list[bytes | str | int] = [q.seq, msgspec.msgpack.encode(q), LIST_SECONDS]
        args += [revision, 2 * LIST_SECONDS, "" if self._cluster else RECOMMENDATIONS.db]
        keys = [tagged("q", user_id), tagged("lists", user_id)]
        done = self._run(self._learned, USER_DATA.db, keys, args)
        self.has_missed = self.has_missed or done is None

    def near(self, user_id: str) -> list[str]:
        """Return the ids of the tracks that Spotify recommends to a listener, best first."""
        key = tagged("near", user_id)
        found = self._without(lambda: self.client(USER_DATA.db).get(key))
        return self._decoded(found, list[str]) or []

    def nears(self, user_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return `near` of many listeners."""
        if self._cluster:  # their keys lie on many nodes
            return {user_id: self.near(user_id) for user_id in user_ids}
        keys = [tagged("near", user_id) for user_id in user_ids]
        found = self._without(lambda: self.client(USER_DATA.db).mget(keys)) or [None] * len(keys)
        return {
            user_id: self._decoded(value, list[str]) or []
            for user_id, value in zip(user_ids, found, strict=True)
        }

    def store_near(self, user_id: str, track_ids: Sequence[str]) -> None:
        """Keep what Spotify recommends, as long as its answers."""
        key, value = tagged("near", user_id), msgspec.msgpack.encode(list(track_ids))
        self._without(lambda: self.client(USER_DATA.db).set(key, value, ex=API.seconds))

    def answers(self) -> bool:
        """Return whether Redis is there."""
        return bool(self._without(lambda: self.client(RECOMMENDATIONS.db).ping()))

    def memory_bytes(self) -> int | None:
        """Return the memory that Redis uses, None while it is away."""
        found = self._without(lambda: memory_bytes(self.client(RECOMMENDATIONS.db)))
        return None if found is None else int(found)

    def forget(self, user_id: str) -> int:
        """Drop every key of a listener, in every database; returns how many.

        Keys of all prefixes carry the listener as hash tag, so that none has to be known here.

        Raises
        ------
        redis.RedisError
            Redis is away: nothing may be called deleted.
        """
        pattern = f"*{glob(tagged('', user_id))}*"
        return sum(drop(client, pattern) for client in self.databases)

    def keys_of(self, user_id: str) -> dict[str, int]:
        """Return a listener's keys and the seconds that each has left.

        Raises
        ------
        redis.RedisError
            Redis is away.
        """
        pattern = f"*{glob(tagged('', user_id))}*"
        return {
            key.decode(): int(client.ttl(key))
            for client in self.databases
            for key in client.scan_iter(match=pattern, count=500)
        }

    def _run(self, script: Script, db: int, keys: list[str], args: list[bytes | str | int]) -> Any:
        return self._without(lambda: script(keys=keys, args=args, client=self.client(db)))

    def close(self) -> None:
        """Let the connections go."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
