"""The call for somebody to look: one POST to BONDHU_WEBHOOK_URL, whose address is never told."""

import logging
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from pipelines.nights.alarms import Verdict
from pipelines.nights.night import Night

TIMEOUT_SECONDS = 5.0
ATTEMPTS = 3

log = logging.getLogger("bondhu.nightly")


class _RefusedError(Exception):
    """The receiver answered that something is wrong with it."""


def call(night: Night, found: Verdict) -> bool:
    """Tell the webhook, if there is one; return whether it took the message.

    It is tried three times. A failure is said and ends nothing: the night is over, and its report
    says the same.
    """
    url = night.environment.settings.bondhu_webhook_url
    if url is None:
        return False
    message: dict[str, Any] = {
        "night": night.date.isoformat(),
        "as_of": night.as_of.isoformat(),
        "exit_code": found.exit_code,
        **found.outcome(),
    }
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
                answer = httpx.post(url.get_secret_value(), json=message, timeout=TIMEOUT_SECONDS)
                if answer.status_code >= 500 or answer.status_code == 429:
                    raise _RefusedError(f"it answered {answer.status_code}")
    except (httpx.RequestError, httpx.InvalidURL, _RefusedError) as error:
        reason = str(error) if isinstance(error, _RefusedError) else type(error).__name__
        night.say(f"the webhook could not be told ({reason}): check BONDHU_WEBHOOK_URL")
        return False
    if answer.is_error:
        night.say(f"the webhook refused the message: it answered {answer.status_code}")
    return not answer.is_error
