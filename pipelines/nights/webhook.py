"""The call for somebody to look: one POST to BONDHU_WEBHOOK_URL, whose address is never told."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from features.settings import Settings
from pipelines.nights.alarms import Verdict
from pipelines.nights.errors import LockLostError, NightError, one_line
from pipelines.nights.night import Night
from pipelines.nights.secrets import without_secrets

TIMEOUT_SECONDS = 5.0
ATTEMPTS = 3
FAILED = 30

Say = Callable[[str], None]


class _RefusedError(Exception):
    """The receiver answered that something is wrong with it."""


def call(night: Night, found: Verdict) -> bool:
    """Tell the webhook how a night ended, if there is one; return whether it took the message.

    It is tried three times. A failure is said and ends nothing: the night is over, and its report
    says the same.
    """
    message = {
        "night": night.date.isoformat(),
        "as_of": night.as_of.isoformat(),
        "exit_code": found.exit_code,
        **found.outcome(),
    }
    return _post(night.environment.settings, message, night.say)


@contextmanager
def calling_where_it_cannot_run(
    settings: Settings, nights: Sequence[date], say: Say
) -> Iterator[None]:
    """Tell the webhook where the block fails, and pass the error on: no night could say it itself.

    A `NightError` is an answer to whoever asked for a night (another run holds the lock, a date is
    none), and nobody is called; only that the lock was lost ends a night.

    Parameters
    ----------
    nights
        Those asked for, read when it fails; empty: not known yet, today's at least.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, NightError) or isinstance(error, LockLostError):
            asked = [one.isoformat() for one in nights or [datetime.now(UTC).date()]]
            message = {
                "night": asked[-1],
                "nights": asked,
                "exit_code": FAILED,
                "alarms": [f"failed: {one_line(error)}"],
                "promoted": [],
                "declined": [],
            }
            _post(settings, message, say)
        raise


def _post(settings: Settings, message: Mapping[str, Any], say: Say) -> bool:
    url = settings.bondhu_webhook_url
    if url is None:
        return False
    alarms = [without_secrets(line, settings) for line in message["alarms"]]
    # httpx logs every address that it calls.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type((httpx.TransportError, _RefusedError)),
            wait=wait_exponential(multiplier=0.5, max=5),
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                answer = httpx.post(
                    url.get_secret_value(),
                    json={**message, "alarms": alarms},
                    timeout=TIMEOUT_SECONDS,
                )
                if answer.status_code >= 500 or answer.status_code == 429:
                    raise _RefusedError(f"it answered {answer.status_code}")
    except (httpx.RequestError, httpx.InvalidURL, _RefusedError) as error:
        reason = str(error) if isinstance(error, _RefusedError) else type(error).__name__
        say(f"the webhook could not be told ({reason}): check BONDHU_WEBHOOK_URL")
        return False
    if not answer.is_success:  # whoever answers with another address has not read the message
        say(f"the webhook refused the message: it answered {answer.status_code}")
    return answer.is_success
