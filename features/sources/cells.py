"""Cells: how one cell of a file is read, and when it is refused.

A missing cell is None, never a default. Each reader gets the column's name too, for the reason.
"""

import re
from datetime import date

from recommender.genres import normalise_genre

_NO_NUMBER = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>"})


class RejectedError(Exception):
    """A cell holds what cannot be; the message is the reason."""


def text(name: str, cell: str, *, longest: int | None = None) -> str:
    """Return a cell that must say something, stripped."""
    stripped = cell.strip()
    if not stripped:
        raise RejectedError(f"{name} is missing")
    if "\0" in stripped or (longest is not None and len(stripped) > longest):
        raise RejectedError(f"{name} is too long or holds a NUL")
    return stripped


def optional_text(name: str, cell: str) -> str | None:
    """Return a cell, or None where it says nothing."""
    return text(name, cell) if cell.strip() else None


def number(name: str, cell: str, *, low: float, high: float, zero: bool = True) -> float | None:
    """Return a number within [low, high]; 0 is None where a source writes it for unknown.

    Examples
    --------
    >>> number("energy", "0.916", low=0, high=1), number("tempo", "0", low=0, high=500, zero=False)
    (0.916, None)
    >>> number("energy", "91.6", low=0, high=1)
    Traceback (most recent call last):
    features.sources.cells.RejectedError: energy outside 0 to 1
    """
    if cell.strip().lower() in _NO_NUMBER:
        return None
    try:
        value = float(cell)
    except ValueError:
        raise RejectedError(f"{name} is not a number") from None
    if not low <= value <= high:  # NaN too
        raise RejectedError(f"{name} outside {low} to {high}")
    return None if value == 0 and not zero else round(value, 12)


def whole(name: str, cell: str, *, low: int, high: int) -> int | None:
    """Return a whole number within [low, high]; '66.0' is one."""
    value = number(name, cell, low=low, high=high)
    if value is not None and value != int(value):
        raise RejectedError(f"{name} is not a whole number")
    return None if value is None else int(value)


def key(name: str, cell: str) -> int | None:
    """Return a pitch class 0-11; -1 says that none was found."""
    value = whole(name, cell, low=-1, high=11)
    return None if value == -1 else value


def day(name: str, cell: str) -> date | None:
    """Return a release date; a month or a year becomes its first day, the year 0 is unknown.

    Examples
    --------
    >>> [str(day("release_date", cell)) for cell in ("2019-06-14", "1999-07", "1975", "0000")]
    ['2019-06-14', '1999-07-01', '1975-01-01', 'None']
    """
    if cell.strip().lower() in _NO_NUMBER:
        return None
    found = re.match(r"(\d{4})(?:\.0$|-(\d{2})(?:-(\d{2}))?)?(?![\d.-])", cell.strip())
    if found is None:
        raise RejectedError(f"{name} is not a date")
    year, month, of_month = (int(part or 1) for part in found.groups())
    if year == 0:
        return None
    try:
        return date(year, month, of_month)
    except ValueError:
        raise RejectedError(f"{name} is not a date") from None


def flag(name: str, cell: str) -> bool | None:
    """Return yes or no from true/false, 1/0, yes/no."""
    word = cell.strip().lower()
    if word in _NO_NUMBER:
        return None
    if word in ("true", "1", "1.0", "yes", "t"):
        return True
    if word in ("false", "0", "0.0", "no", "f"):
        return False
    raise RejectedError(f"{name} is neither true nor false")


def names(cell: str) -> list[str]:
    """Return the entries of a cell that may hold a list, in their order.

    Examples
    --------
    >>> names("pop"), names("['a b', 'c']"), names("x;y|z")
    (['pop'], ['a b', 'c'], ['x', 'y', 'z'])
    """
    if cell.startswith("[") and cell.endswith("]"):
        parts = re.split(r"""['"]\s*,\s*['"]""", cell[1:-1].strip(" '\""))
    else:
        parts = re.split(r"[;|]", cell)
    return [part.strip() for part in parts if part.strip()]


def genres(name: str, cell: str) -> tuple[str, ...]:
    """Return normalised raw genres, each once."""
    if "\0" in cell:
        raise RejectedError(f"{name} is too long or holds a NUL")
    return tuple(dict.fromkeys(filter(None, map(normalise_genre, names(cell)))))


def artist(name: str, cell: str) -> str:
    """Return the artist; of a list of artists the first."""
    return text(name, next(iter(names(cell)), ""))
