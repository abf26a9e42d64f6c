"""Holdouts: which artists a listener's model must not see, and which listeners test it.

Every draw comes from a hash of the listener's id and the seed, so that one listener's holdout does
not depend on who else is there.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np

HELD_OUT = 0.2
EARLY = 0.2
"""The share of the visible artists that a listener of week 2 to 4 has shown so far."""
FEWEST_ARTISTS = 5
TEST_LISTENERS = 0.3


DRAW = "sha256(CAST(:salt AS bytea) || convert_to({0}, 'UTF8'))"
"""SQL: 32 bytes of a column {0} that sort as `draw_of` does; `salt` is what `salt_of` returns."""


def draw_of(user_id: str, seed: int, purpose: str) -> int:
    """Return a 64-bit number that only these three decide."""
    digest = hashlib.sha256(salt_of(seed, purpose) + user_id.encode()).digest()
    return int.from_bytes(digest[:8], "big")


def salt_of(seed: int, purpose: str) -> bytes:
    """Return what is hashed before an id, so that each purpose has draws of its own.

    Examples
    --------
    >>> salt_of(7, "test")
    b'test\\x007\\x00'
    """
    return f"{purpose}\0{seed}\0".encode()


def is_test(user_id: str, seed: int) -> bool:
    """Return whether a listener tests the model; the others fit it.

    Examples
    --------
    >>> tests = sum(is_test(f"listener-{i}", 7) for i in range(1000))
    >>> 250 < tests < 350
    True
    """
    return draw_of(user_id, seed, "test") < TEST_LISTENERS * 2**64


def held_out_count(artists: int) -> int:
    """Return how many of a listener's artists are hidden: a fifth, rounded, at least one.

    Examples
    --------
    >>> held_out_count(5), held_out_count(48)
    (1, 10)
    """
    return max(1, math.floor(HELD_OUT * artists + 0.5))


def held_out_at_random(artists: Iterable[str], user_id: str, seed: int) -> frozenset[str]:
    """Return a fifth of the artists, drawn at random: counts have no order of time.

    Examples
    --------
    >>> held = held_out_at_random("abcdefghij", "ada", 7)
    >>> len(held), held == held_out_at_random("jihgfedcba", "ada", 7)
    (2, True)
    """
    ordered = sorted(artists)
    rng = np.random.default_rng(draw_of(user_id, seed, "holdout"))
    drawn = rng.choice(len(ordered), size=held_out_count(len(ordered)), replace=False)
    return frozenset(ordered[place] for place in drawn.tolist())


def held_out_latest(first_played: Mapping[str, datetime]) -> frozenset[str]:
    """Return the fifth of the artists that was discovered last.

    Examples
    --------
    >>> day = datetime.fromisoformat
    >>> days = {"abba": day("2026-01-02"), "blur": day("2026-01-03"), "cher": day("2026-01-01")}
    >>> held_out_latest(days)
    frozenset({'blur'})
    """
    ordered = by_discovery(first_played)
    return frozenset(ordered[len(ordered) - held_out_count(len(ordered)) :])


def by_discovery(first_played: Mapping[str, datetime]) -> Sequence[str]:
    """Return artists in the order in which they were first played; ties by name."""
    return sorted(first_played, key=lambda artist: (first_played[artist], artist))


def early_count(artists: int) -> int:
    """Return how many of the visible artists a listener of week 2 to 4 has shown, at least one."""
    return max(1, math.floor(EARLY * artists + 0.5))
