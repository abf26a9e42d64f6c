"""Lines that leave the machine, without what the settings keep secret."""

from collections.abc import Iterator

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.exc import ArgumentError

from features.settings import Settings

ADDRESSES = ("database_url", "redis_url", "mlflow_tracking_uri")
"""Settings that are no secrets and may hold a password."""
HIDDEN = "***"


def without_secrets(line: str, settings: Settings) -> str:
    """Return a line with every secret of the settings, and every password of an address, hidden.

    Errors of servers name hosts and roles; that none repeats a password is theirs to keep, so here
    it is made sure of.

    Examples
    --------
    >>> settings = Settings(database_url="postgresql://ada:lovelace@db/bondhu")
    >>> without_secrets("cannot reach postgresql://ada:lovelace@db/bondhu", settings)
    'cannot reach postgresql://ada:***@db/bondhu'
    """
    for secret in sorted(set(_secrets(settings)), key=len, reverse=True):
        line = line.replace(secret, HIDDEN)
    return line


def _secrets(settings: Settings) -> Iterator[str]:
    for _, value in settings:
        if isinstance(value, SecretStr):
            whole = value.get_secret_value()
            yield from filter(None, (whole, *(part.strip() for part in whole.split(","))))
    for name in ADDRESSES:
        yield from filter(None, _passwords(getattr(settings, name)))


def _passwords(address: str | None) -> Iterator[str]:
    """Yield the password of an address, as it is and as it is written there."""
    if address is None:
        return
    try:
        url = sa.make_url(address)
    except (ArgumentError, ValueError):
        yield address
        return
    in_query = url.query.get("password", ())
    for password in (url.password, *((in_query,) if isinstance(in_query, str) else in_query)):
        if password:
            yield str(password)
    yield address.partition("://")[2].rpartition("@")[0].partition(":")[2]
