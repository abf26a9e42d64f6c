"""The cold start: three stages by account age, and what counts as age.

Settled question 1; SEED.md, section 4.
"""

from datetime import datetime
from enum import StrEnum

ARTISTS_FOR_ESTABLISHED = 20
"""Undated listening to this many artists says as much as a month of dated listening."""


class Stage(StrEnum):
    """How far a listener has come since the cold start."""

    WEEK_1 = "week_1"
    WEEK_2_4 = "week_2_4"
    MONTH_2_PLUS = "month_2_plus"


def account_age_days(now: datetime, created_at: datetime, first_played_at: datetime | None) -> int:
    """Return whole days since the earlier of creation and first dated play, at least 0.

    Examples
    --------
    >>> day = datetime.fromisoformat
    >>> now, created = day("2026-01-29T00:00Z"), day("2026-01-28T12:00Z")
    >>> account_age_days(now, created, None)
    0
    >>> account_age_days(now, created, day("2021-01-29T00:00Z"))
    1826
    """
    since = created_at if first_played_at is None else min(created_at, first_played_at)
    return max(0, (now - since).days)


def stage_of(age_days: int, *, has_dated_plays: bool = True, undated_artists: int = 0) -> Stage:
    """Return the stage: week_1 for 0-7 days, week_2_4 for 8-28, month_2_plus from 29 on.

    A listener whose only history is undated (counts per artist) is past week 1: month_2_plus from
    20 distinct artists on, else week_2_4, whatever the account age.

    Examples
    --------
    >>> [stage_of(days).value for days in (7, 8, 28, 29)]
    ['week_1', 'week_2_4', 'week_2_4', 'month_2_plus']
    >>> stage_of(0, has_dated_plays=False, undated_artists=20).value
    'month_2_plus'
    """
    if not has_dated_plays and undated_artists > 0:
        enough = undated_artists >= ARTISTS_FOR_ESTABLISHED
        return Stage.MONTH_2_PLUS if enough else Stage.WEEK_2_4
    if age_days <= 7:
        return Stage.WEEK_1
    return Stage.WEEK_2_4 if age_days <= 28 else Stage.MONTH_2_PLUS
