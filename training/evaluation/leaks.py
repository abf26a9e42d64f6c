"""Leaks: what a model saw of a test listener must not come from what it should find.

The data set hides by stage. Here the same listener is made from a history that holds nothing else
than the visible rows, less every row of the artists to be found and every play from the first of
them on: whoever looks at hidden rows has nothing to look at. The components must come out equal.
A model of others (co-listening) is asked for the truncated listener, and not fitted again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from features.listeners import listener_of
from recommender.cold_start import Stage
from recommender.components import evaluate
from recommender.listener import Listener
from training.data.choices import Choices
from training.data.dataset import ColistenFor, Dataset, Holdout, visible
from training.data.histories import History
from training.data.profiles import profile_of

TOLERANCE = 1e-5
"""Co-listening adds in float32, in an order that depends on how many tracks are asked for: the
same listener's components differ by 1e-6 then. What was hidden moves them by far more."""
SAMPLE = 40
"""Test listeners looked at, per stage."""


@dataclass(frozen=True)
class LeakCheck:
    """How many component values were recomputed, and how many came out otherwise."""

    values: int = 0
    leaking: int = 0

    def __add__(self, other: "LeakCheck") -> "LeakCheck":
        """Return both together."""
        return LeakCheck(self.values + other.values, self.leaking + other.leaking)


def without_hidden(history: History, hidden: frozenset[str]) -> History:
    """Return a history as it was before any of these artists was discovered.

    Examples
    --------
    >>> from training.data.histories import ArtistCount
    >>> counts = [ArtistCount("abba", 3), ArtistCount("blur", 1)]
    >>> without_hidden(History("ada", [], counts, {}), frozenset({"blur"})).counts
    [ArtistCount(artist_key='abba', play_count=3)]
    """
    first = min((p.played_at for p in history.plays if p.artist_key in hidden), default=None)
    return replace(
        history,
        plays=[p for p in history.plays if first is None or p.played_at < first],
        counts=[count for count in history.counts if count.artist_key not in hidden],
    )


@dataclass(frozen=True)
class AsOf:
    """Makes listeners anew, from nothing but what they had played by then."""

    dataset: Dataset
    now: datetime
    colisten_for: ColistenFor | None

    def listener(self, holdout: Holdout, stage: Stage, hidden: frozenset[str]) -> Listener:
        """Return the listener as of the moment before the first hidden artist."""
        plays, counts = visible(holdout, stage)
        shown = replace(holdout.history, plays=plays, counts=counts)
        history = without_hidden(shown, hidden)
        truncated = Holdout(history, holdout.known - hidden, frozenset(), None)
        plays, counts = history.plays, history.counts
        as_of = max((play.played_at for play in plays), default=self.now)
        profile = profile_of(
            history, plays, counts, stage=stage, facts=self.dataset.facts, as_of=as_of
        )
        return listener_of(
            profile,
            self.dataset.catalogue,
            now=as_of,
            q_table={},
            colisten=self.colisten_for(truncated) if self.colisten_for else None,
        )


def checked(
    choices: Iterable[Choices],
    holdouts: Sequence[Holdout],
    as_of: AsOf,
    stage: Stage,
    note: Callable[[LeakCheck], None],
    *,
    sample: int = SAMPLE,
) -> Iterable[Choices]:
    """Pass choices on, and note for the first of them whether their components can be recomputed.

    Parameters
    ----------
    choices
        Those of the holdouts, in their order.
    note
        Gets what each looked-at listener came to.
    """
    keys = as_of.dataset.catalogue.artist_keys
    for holdout, one in zip(holdouts, choices, strict=True):
        if sample > 0:
            sample -= 1
            hidden = frozenset(key.decode() for key in keys[one.relevant].tolist())
            again = evaluate(as_of.listener(holdout, stage, hidden), one.tracks)
            differing = sum(
                int((np.abs(again[key] - values) > TOLERANCE).sum())
                for key, values in one.components.items()
            )
            note(LeakCheck(sum(map(len, again.values())), differing))
        yield one
