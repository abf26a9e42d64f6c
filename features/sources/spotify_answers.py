"""What Spotify answered, kept for a while: 6 hours, audio features 7 days. Never a failure.

| database | key | holds | lives |
|---|---|---|---|
| 1 | spotify:audio:{track} | a track's audio features | 7 d |
| 2 | spotify:api:{whose}:call | an answer; whose: a listener, or `app` for the catalogue | 6 h |

While Redis is away nothing is kept, and everything is asked.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import redis

AUDIO_DB, API_DB = 1, 2
ANSWER_SECONDS = 6 * 3600
AUDIO_SECONDS = 7 * 24 * 3600
CATALOGUE = "app"

log = logging.getLogger("bondhu.spotify")


class SpotifyAnswers:
    """A cache of answers; values are MessagePack.

    Parameters
    ----------
    audio, api
        Redis, databases 1 and 2.
    """

    def __init__(self, audio: redis.Redis, api: redis.Redis) -> None:
        self._audio = audio
        self._api = api

    def get(self, whose: str, call: str) -> Any | None:
        """Return a kept answer, None where there is none."""
        return _decoded(_without(lambda: self._api.get(_key(whose, call))))

    def keep(self, whose: str, call: str, answer: object) -> None:
        """Keep an answer that is good."""
        value = msgspec.msgpack.encode(answer)
        _without(lambda: self._api.set(_key(whose, call), value, ex=ANSWER_SECONDS))

    def audio(self, track_ids: Sequence[str]) -> dict[str, Any]:
        """Return the kept audio features of some of these tracks."""
        if not track_ids:
            return {}
        found = _without(lambda: self._audio.mget([_audio_key(t) for t in track_ids]))
        kept = {t: _decoded(value) for t, value in zip(track_ids, found or [], strict=False)}
        return {track_id: value for track_id, value in kept.items() if value is not None}

    def keep_audio(self, features: Mapping[str, object]) -> None:
        """Keep audio features by track."""

        def keep() -> None:
            pipe = self._audio.pipeline(transaction=False)
            for track_id, values in features.items():
                pipe.set(_audio_key(track_id), msgspec.msgpack.encode(values), ex=AUDIO_SECONDS)
            pipe.execute()

        _without(keep)


def _key(whose: str, call: str) -> str:
    return f"spotify:api:{{{whose}}}:{call}"


def _audio_key(track_id: str) -> str:
    return f"spotify:audio:{{{track_id}}}"


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
