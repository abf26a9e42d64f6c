"""Which nights are due, and as of when each of them sees the world."""

from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from features import nights
from pipelines.nights.errors import NightError

HOUR = 3
"""Of the day, UTC: when the schedule starts a night, and as of when a past night sees the world."""


def as_of(night: date, now: datetime) -> datetime:
    """Return the moment that a night looks from: 03:00 UTC of its date; today, not after now.

    What an operator imported this morning counts today: a night of today looks from now.

    Examples
    --------
    >>> noon = datetime(2026, 5, 2, 12, 0, 7, tzinfo=UTC)
    >>> str(as_of(date(2026, 5, 1), noon)), str(as_of(date(2026, 5, 2), noon))
    ('2026-05-01 03:00:00+00:00', '2026-05-02 12:00:07+00:00')
    """
    if night == now.astimezone(UTC).date():
        return now.astimezone(UTC).replace(microsecond=0)
    return datetime.combine(night, time(HOUR), tzinfo=UTC)


def day(text: str) -> date:
    """Return a date that somebody wrote.

    Raises
    ------
    NightError
        It is none.

    Examples
    --------
    >>> day("2026-05-31")
    datetime.date(2026, 5, 31)
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise NightError(f"'{text}' is no date: write it as 2026-05-31") from None


def check(first: date, last: date, now: datetime) -> list[date]:
    """Return the nights from the first to the last, both in it, in order.

    Raises
    ------
    NightError
        They are the wrong way round, or in the future.

    Examples
    --------
    >>> now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> [str(one) for one in check(date(2026, 2, 28), date(2026, 3, 1), now)]
    ['2026-02-28', '2026-03-01']
    """
    if first > last:
        raise NightError(f"--from {first} is after --to {last}: exchange them")
    if last > now.astimezone(UTC).date():
        raise NightError(f"the night of {last} has not come yet: the latest is today's, in UTC")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def due(engine: sa.Engine, now: datetime, *, catch_up: int) -> list[date]:
    """Return the nights that a plain run does: those missed or unfinished lately, and today's.

    Parameters
    ----------
    catch_up
        How many days back a missed night is still caught up. What an older one would have learned,
        a younger one learns: each reads the whole log.
    """
    today = now.astimezone(UTC).date()
    oldest = today - timedelta(days=catch_up)
    last = nights.last_done(engine, until=today)
    first = today if last is None else max(oldest, last + timedelta(days=1))
    missed = {first + timedelta(days=n) for n in range((today - first).days + 1)}
    open_ = nights.unfinished(engine, since=oldest, until=today)
    return sorted(missed | open_ | ({today} if last != today else set()))
