"""What Spotify answered, kept for a while: 6 hours, audio features 7 days. Never a failure.

| database | key | holds | lives |
|---|---|---|---|
| 1 | spotify:audio:{track} | a track's audio features | 7 d |
| 2 | spotify:api:{user}:call | an answer about a listener | 6 h |
| 2 | spotify:catalogue:call | any other answer | 6 h |

While Redis is away nothing is kept, and everything is asked.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import redis

from features.redis_server import tagged

AUDIO_DB, API_DB = 1, 2
ANSWER_SECONDS = 6 * 3600
AUDIO_SECONDS = 7 * 24 * 3600
CATALOGUE = ""
"""In place of a listener."""

log = logging.getLogger("bondhu.spotify")


class SpotifyAnswers:
    """A cache of answers; values are MessagePack.

    Parameters
    ----------
    client
        Lends Redis' client of a database; asked for at each use, since it may be opened anew.
    """

    def __init__(self, client: Callable[[int], redis.Redis]) -> None:
        self._client = client

    def get(self, whose: str, call: str) -> Any | None:
        """Return a kept answer, None where there is none."""
        return _decoded(_without(lambda: self._client(API_DB).get(_key(whose, call))))

    def keep(self, whose: str, call: str, answer: object) -> None:
        """Keep an answer that is good."""
        value = msgspec.msgpack.encode(answer)
        _without(lambda: self._client(API_DB).set(_key(whose, call), value, ex=ANSWER_SECONDS))

    def audio(self, track_ids: Sequence[str]) -> dict[str, Any]:
        """Return the kept audio features of some of these tracks."""
        if not track_ids:
            return {}

        def ask() -> list[object]:
            # On a cluster they lie on different nodes: no MGET there.
            pipe = self._client(AUDIO_DB).pipeline(transaction=False)
            for track_id in track_ids:
                pipe.get(_audio_key(track_id))
            return list(pipe.execute())

        found = _without(ask)
        kept = {t: _decoded(value) for t, value in zip(track_ids, found or [], strict=False)}
        return {track_id: value for track_id, value in kept.items() if value is not None}

    def keep_audio(self, features: Mapping[str, object]) -> None:
        """Keep audio features by track."""

        def keep() -> None:
            pipe = self._client(AUDIO_DB).pipeline(transaction=False)
            for track_id, values in features.items():
                pipe.set(_audio_key(track_id), msgspec.msgpack.encode(values), ex=AUDIO_SECONDS)
            pipe.execute()

        _without(keep)


def _key(whose: str, call: str) -> str:
    return f"{tagged('spotify:api', whose)}:{call}" if whose else f"spotify:catalogue:{call}"


def _audio_key(track_id: str) -> str:
    return tagged("spotify:audio", track_id)


def _without(command: Callable[[], Any]) -> Any:
    """Run a command; None while Redis is away."""
    try:
        return command()
    except redis.RedisError as error:
        log.debug("Redis is away: %s", error)
        return None


def _decoded(found: object) -> Any | None:
    if not isinstance(found, bytes):
        return None
    try:
        return msgspec.msgpack.decode(found)
    except msgspec.DecodeError:
        return None
