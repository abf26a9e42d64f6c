"""What a list is worth to one listener, and what a set of lists makes of a catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray
from recommender.entropy import entropy
from recommender.listener import Listener
from recommender.tracks import Catalogue, IndexArray
from training.evaluation.intervals import Interval

K = 10
METRICS = (f"ndcg_{K}", f"recall_{K}", f"map_{K}", "entropy", "novelty", "new_artist_share")
"""Of one list, in the order of the columns of values."""
COVERAGE = ("artist_coverage", "track_coverage")
"""Of a set of lists."""


def ndcg(ranked: Sequence[int], relevant: IndexArray, k: int = K) -> float:
    """Return NDCG@k = DCG / (the DCG of a perfect list), in [0, 1].

    DCG = sum over the finds at positions i <= k of 1 / log2(i + 1).

    Parameters
    ----------
    ranked
        Artists, best first, none twice.
    relevant
        At least one artist to be found.

    Examples
    --------
    Of two artists one is found, in the second place: (1 / log2 3) / (1 / log2 2 + 1 / log2 3).

    >>> round(ndcg([5, 8, 9], np.array([4, 8])), 4)
    0.3869
    """
    wanted = set(relevant.tolist())
    found = [i for i, artist in enumerate(ranked[:k], start=1) if artist in wanted]
    perfect = range(1, min(k, len(wanted)) + 1)
    return float(sum(1 / np.log2(i + 1) for i in found) / sum(1 / np.log2(i + 1) for i in perfect))


def recall(ranked: Sequence[int], relevant: IndexArray, k: int = K) -> float:
    """Return which share of the artists to be found stands among the first k.

    Examples
    --------
    >>> recall([5, 8, 9], np.array([4, 8]))
    0.5
    """
    return len(set(ranked[:k]) & set(relevant.tolist())) / len(set(relevant.tolist()))


def average_precision(ranked: Sequence[int], relevant: IndexArray, k: int = K) -> float:
    """Return AP@k: the mean of precision@i over the places i of finds, misses counting 0.

    AP = sum over the finds at i <= k of (finds among the first i) / i, over min(k, |relevant|).
    Its mean over listeners is MAP.

    Examples
    --------
    Found in places 2 and 3, two wanted: (1 / 2 + 2 / 3) / 2.

    >>> round(average_precision([5, 8, 4], np.array([4, 8])), 4)
    0.5833
    """
    wanted = set(relevant.tolist())
    found = [i for i, artist in enumerate(ranked[:k], start=1) if artist in wanted]
    return sum(n / i for n, i in enumerate(found, start=1)) / min(k, len(wanted))


@dataclass(frozen=True)
class ListJudge:
    """Measures lists of one catalogue.

    Attributes
    ----------
    artist, genre
        (tracks,) the artist and the finest genre (-1: none) of each track.
    self_information
        (artists,) how surprising an artist is, in bits, see `of`.
    """

    artist: IndexArray
    genre: IndexArray
    self_information: FloatArray

    @classmethod
    def of(cls, catalogue: Catalogue, played_by: IndexArray, listeners: int) -> "ListJudge":
        """Return the judge of a catalogue.

        self_information = -log2((played_by + 1) / (listeners + 1)): 0 for whom everybody plays.
        Source: Zhou et al., PNAS 2010, section "Surprisal/novelty".

        Parameters
        ----------
        played_by
            (artists,) how many of `listeners` play each artist.
        """
        share = (np.asarray(played_by, dtype=np.float64) + 1) / (listeners + 1)
        return cls(catalogue.tracks.artist, catalogue.genre, -np.log2(share))

    def measure(
        self, rows: IndexArray, listener: Listener, relevant: IndexArray
    ) -> tuple[float, ...]:
        """Return the values of `METRICS` for one list.

        Artists count, in the order in which the list first names them; those heard before are
        neither finds nor misses. entropy is in bits over finest genres, novelty the mean
        self-information of the tracks' artists, new_artist_share the share of tracks whose artist
        the listener has not heard.

        Parameters
        ----------
        rows
            Catalogue rows, best first.
        relevant
            Places of artists that the list should name.
        """
        artists = self.artist[rows]
        is_new = ~np.isin(artists, listener.heard_artists)
        ranked = list(dict.fromkeys(artists[is_new].tolist()))
        return (
            ndcg(ranked, relevant),
            recall(ranked, relevant),
            average_precision(ranked, relevant),
            entropy(self.genre[rows].tolist()),
            float(self.self_information[artists].mean()) if len(rows) else 0.0,
            float(is_new.mean()) if len(rows) else 0.0,
        )


@dataclass(frozen=True)
class Coverage:
    """Which share of a catalogue stands in any of n lists.

    Attributes
    ----------
    share
        In [0, 1].
    pseudo_values
        (n,) the jackknife's: share + (n - 1) (what the share loses without this list).
    """

    share: float
    pseudo_values: FloatArray

    @property
    def interval(self) -> Interval:
        """The share -+ 1.96 standard errors by the jackknife (Heltshe and Forrester, 1983).

        A bootstrap would draw lists twice, and always find less than there is.
        """
        return _jackknife(self.share, self.pseudo_values)

    def gain_over(self, other: "Coverage") -> Interval:
        """Return the difference from what other lists for the same listeners cover."""
        return _jackknife(self.share - other.share, self.pseudo_values - other.pseudo_values)


def coverage(lists: Sequence[IndexArray], size: int) -> Coverage:
    """Return which share of `size` things the lists name.

    Examples
    --------
    Three of four are named, one of them by both lists: without either list, 1/4 less.

    >>> both = coverage([np.array([0, 1]), np.array([1, 2, 2])], 4)
    >>> both.share, both.pseudo_values.tolist()
    (0.75, [1.0, 1.0])
    """
    named = [np.unique(one) for one in lists]
    counts = np.bincount(np.concatenate(named), minlength=size) if named else np.zeros(size)
    alone = np.array([(counts[one] == 1).sum() for one in named], dtype=np.float64)
    share = float((counts > 0).sum() / size)
    return Coverage(share, share + (len(named) - 1) * alone / size)


def _jackknife(value: float, pseudo_values: FloatArray) -> Interval:
    n = len(pseudo_values)
    half = 1.96 * float(pseudo_values.std(ddof=1)) / n**0.5 if n > 1 else 1.0  # it says nothing
    return Interval(value, value - half, value + half)
