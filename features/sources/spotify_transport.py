"""How Spotify is called: politely, patiently, and never longer than the caller can wait.

spotipy knows the endpoints; this adapter sits under it, where requests leave, and decides about
waiting, trying again and giving up:

| answer | what happens |
|---|---|
| 2xx that is whole JSON | handed on |
| 500, 502, 503, 504, no connection, timeout, half a body, no JSON | again, 3 times, with backoff |
| 429, Retry-After up to 30 s (or none) | waited for, if the caller has the time |
| 429, Retry-After beyond that | recorded for all processes; SourceLimitedError |
| 401 | AccessTokenRefusedError: the caller renews the token once |
| 403, 404, 410 on an endpoint that can be closed | recorded for 3 days; EndpointClosedError |
| 403 elsewhere | NeedsReauthError: the grant does not cover it |
| 404 elsewhere | NotFoundError |
"""

import logging
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import tenacity
from requests.adapters import HTTPAdapter

from features.log_messages import RATE_LIMITED
from features.sources.errors import (
    EndpointClosedError,
    NeedsReauthError,
    NotFoundError,
    SourceError,
    SourceLimitedError,
    SourceUnavailableError,
)
from features.sources.spotify_endpoints import TOKEN, Endpoint, endpoint_of
from features.sources.spotify_limits import SpotifyLimits
from features.sources.standing import EVERYTHING, Standings

CLOSED_FOR = timedelta(days=3)
LONGEST_WAIT_SECONDS = 30.0
LONGEST_LIMIT_SECONDS = 7 * 24 * 3600.0
"""Retry-After beyond this is taken for this."""
ATTEMPTS = 4
BACKOFF_SECONDS, BACKOFF_MOST_SECONDS = 0.5, 8.0
TIMEOUT_SECONDS = 10.0
AGAIN = frozenset({500, 502, 503, 504})


log = logging.getLogger("bondhu.spotify")


class AccessTokenRefusedError(SourceError):
    """401: the access token expired or was revoked."""


class _TryAgain(Exception):  # noqa: N818 - no error: the word between two attempts
    """A failure that may pass; `wait_seconds` where the source said how long."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class Patience:
    """How long a caller can wait for everything together.

    Parameters
    ----------
    seconds
        From now on; infinite for a job that nobody waits for.
    sleep, clock
        Waiting, and a clock in seconds that never goes back.
    """

    def __init__(
        self,
        seconds: float = math.inf,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - self._clock())

    def allows(self, seconds: float) -> bool:
        """Return whether one wait of this length is worth it."""
        return seconds <= min(LONGEST_WAIT_SECONDS, self.left)

    def wait(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)


class PoliteAdapter(HTTPAdapter):
    """Sends requests to Spotify.

    Parameters
    ----------
    now
        The time, in UTC.
    """

    def __init__(
        self,
        standings: Standings,
        limits: SpotifyLimits,
        patience: Patience,
        *,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self._standings = standings
        self._limits = limits
        self._patience = patience
        self._now = now

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """Send a request and return a good answer.

        Raises
        ------
        SourceError
            One of its kinds, where there is none.
        """
        endpoint = endpoint_of(urlsplit(request.url or "").path)
        self._refuse_early(endpoint)
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_pause_before_next,
            sleep=self._pause,
            reraise=True,
        )
        try:
            answer: requests.Response = attempts(self._attempt, endpoint, request, options)
        except _TryAgain as failure:
            raise self._gave_up(endpoint, failure) from None
        self._standings.succeeded(endpoint.name, now=self._now())
        return answer

    def _refuse_early(self, endpoint: Endpoint) -> None:
        closed, limited = self._standings.look(endpoint.name)
        now = self._now()
        if closed and closed > now:
            raise EndpointClosedError(_closed(endpoint, closed), closed)
        if limited and limited > now:
            raise SourceLimitedError(f"Spotify asked for quiet until {_time(limited)}", limited)

    def _attempt(
        self, endpoint: Endpoint, request: requests.PreparedRequest, options: dict[str, Any]
    ) -> requests.Response:
        if endpoint is not TOKEN:
            self._take_place(endpoint)
        left = self._patience.left
        if left <= 0:
            raise SourceUnavailableError("Spotify did not answer in the time that was left")
        options["timeout"] = min(TIMEOUT_SECONDS, left)
        try:
            answer = super().send(request, **options)
            content = answer.content  # here, so that half a body is met here
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise _TryAgain(f"no whole answer ({type(error).__name__})") from None
        if answer.status_code in AGAIN:
            raise _TryAgain(f"status {answer.status_code}")
        if answer.status_code == requests.codes.too_many_requests:
            self._limited(answer)
        if answer.is_redirect:
            return answer
        if answer.ok:
            try:
                orjson.loads(content)
            except orjson.JSONDecodeError:
                raise _TryAgain("an answer that is no JSON") from None
        elif endpoint is not TOKEN:  # there spotipy reads the error
            self._refused(endpoint, answer)
        return answer

    def _take_place(self, endpoint: Endpoint) -> None:
        while (wait := self._limits.take(endpoint)) > 0:
            if not self._patience.allows(wait):
                until = self._now() + timedelta(seconds=wait)
                raise SourceLimitedError(
                    f"SPOTIFY_RPM is used up: the next call is free in {math.ceil(wait)} s", until
                )
            log.info(RATE_LIMITED, wait)
            self._patience.wait(wait)

    def _limited(self, answer: requests.Response) -> None:
        seconds = retry_after(answer.headers.get("Retry-After"))
        if seconds is None or self._patience.allows(seconds):
            if seconds is not None:
                log.info(RATE_LIMITED, seconds)
            raise _TryAgain("status 429", wait_seconds=seconds)
        raise self._record_limit(seconds)

    def _record_limit(self, seconds: float) -> SourceLimitedError:
        now = self._now()
        until = now + timedelta(seconds=seconds)
        self._standings.failed(
            EVERYTHING, f"429, Retry-After {seconds:.0f} s", now=now, limited_until=until
        )
        return SourceLimitedError(f"Spotify asks for quiet until {_time(until)}", until)

    def _refused(self, endpoint: Endpoint, answer: requests.Response) -> None:
        status, now = answer.status_code, self._now()
        message = f"{status} for {endpoint.name}"
        if status == requests.codes.unauthorized:
            raise AccessTokenRefusedError("Spotify refuses the access token: it expired")
        if endpoint.can_close and status in (403, 404, 410):
            until = now + CLOSED_FOR
            self._standings.failed(endpoint.name, message, now=now, closed_until=until)
            raise EndpointClosedError(_closed(endpoint, until), until)
        self._standings.failed(endpoint.name, message, now=now)
        if status == requests.codes.forbidden:
            raise NeedsReauthError(
                f"Spotify forbids {endpoint.name} for this listener: log in again at"
                " /spotify/login, as somebody who may use the application"
            )
        if status in (404, 410):
            raise NotFoundError(f"Spotify knows no such thing ({endpoint.name})")
        raise SourceError(f"Spotify refuses what was asked of {endpoint.name} (status {status})")

    def _gave_up(self, endpoint: Endpoint, failure: _TryAgain) -> SourceError:
        if "429" in str(failure):  # again and again, and it does not say how long
            return self._record_limit(failure.wait_seconds or 60.0)
        self._standings.failed(endpoint.name, str(failure), now=self._now())
        return SourceUnavailableError(
            f"Spotify gave {failure} for {endpoint.name}, {ATTEMPTS} times: try again later"
        )

    def _pause(self, seconds: float) -> None:
        if not self._patience.allows(seconds):
            raise SourceUnavailableError("Spotify did not answer well in the time that was left")
        self._patience.wait(seconds)


_backoff = tenacity.wait_exponential_jitter(
    multiplier=BACKOFF_SECONDS, max=BACKOFF_MOST_SECONDS, jitter=BACKOFF_SECONDS
)
"""Doubles, and draws a part: many callers do not come back at once."""


def _pause_before_next(state: tenacity.RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    told = failure.wait_seconds if isinstance(failure, _TryAgain) else None
    return _backoff(state) if told is None else told


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After, None where it says nothing that makes sense.

    Examples
    --------
    >>> retry_after("3"), retry_after("86400"), retry_after(None), retry_after("soon")
    (3.0, 86400.0, None, None)
    >>> retry_after("-5"), retry_after("99999999999")
    (None, 604800.0)
    """
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return min(seconds, LONGEST_LIMIT_SECONDS) if seconds >= 0 else None


def _closed(endpoint: Endpoint, until: datetime) -> str:
    return (
        f"Spotify does not let this application use {endpoint.name}; it is asked again after"
        f" {_time(until)}"
    )


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
