"""Playlists as listeners: continuing an unseen one, and finding tracks that no training one has.

Five splits of the playlists with ten tracks or more. What is known of a track's genres comes from
training playlists alone. Half of a test playlist is hidden; all other tracks are ranked.

In this data set every track is in some playlist, so that a track in no training playlist must be in
a test playlist: to prefer unseen tracks would find most of what is hidden, and mean nothing. Peers
have no such term, and ours only weights >= 0 on what speaks for a track.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.peers.closed_form import Matrix
from benchmarks.peers.implicit_models import als
from benchmarks.peers.playlist_models import (
    Known,
    artist_and_subgenre,
    artist_cooccurrence,
    audio_neighbours,
    track_knn,
)
from benchmarks.tasks.tuning import Compared, Floats, Setting, best_setting, ndcg_of, ranked
from features.sources.catalogue import SONGS
from features.sources.catalogue_tracks import read_tracks
from features.sources.files import read_table
from features.sources.names import name_key
from recommender.audio import FEATURES, audio_rows
from recommender.background import Background
from recommender.colisten import REASONS, Colisten
from recommender.entropy import EntropyFloor, entropy
from recommender.keys import places, sorted_keys
from recommender.taste import ColistenIn
from recommender.tracks import UNKNOWN_DATE, Catalogue, build_tracks
from training.data.listening import Listening
from training.fit.colisten import fit_colisten
from training.fit.mixes import listened_to

K = 50
SPLITS = 5
FEWEST_TRACKS = 10
COLD = 0.2
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Playlists:
    """All playlists over all tracks.

    Attributes
    ----------
    bare
        The catalogue with no genres: those depend on which playlists are known.
    membership, subgenre
        (playlists, tracks) and (playlists, subgenres), 0 or 1.
    audio
        (tracks, 9) standardised: the seven features, loudness and liveness.
    """

    bare: Catalogue
    membership: Matrix
    subgenre: Matrix
    subgenres: Sequence[str]
    audio: Matrix

    def catalogue(self, playlists: Rows) -> Catalogue:
        """Return the catalogue with the genres that these playlists give their tracks."""
        genres: list[list[str]] = [[] for _ in range(len(self.bare))]
        for playlist in playlists.tolist():
            names = [self.subgenres[at] for at in np.flatnonzero(self.subgenre[playlist]).tolist()]
            for row in np.flatnonzero(self.membership[playlist]).tolist():
                genres[row] += names
        return replace(self.bare, genres=[tuple(names) for names in genres])


@dataclass(frozen=True)
class PlaylistListening(Listening):
    """A playlist as a history, which remembers where it came from."""

    playlist: int = field(default=-1)


def read(folder: Path) -> Playlists:
    """Read the songs as the product's own import does; (track, playlist) pairs count once."""
    found = read_tracks(read_table(folder / SONGS)).by_id
    ids = sorted_keys(found)
    tracks = [found[key.decode()] for key in ids.tolist()]
    artists = [name_key(str(track.values["artist_name"])) for track in tracks]
    artist_keys = sorted_keys(artists)
    members: dict[str, set[int]] = {}
    named: dict[str, set[str]] = {}
    for row, track in enumerate(tracks):
        for (kind, genre), playlists in track.playlists.items():
            for playlist in map(str, playlists):
                members.setdefault(playlist, set()).add(row)
                if kind == "subgenre":
                    named.setdefault(playlist, set()).add(genre)
    order = sorted(members)
    subgenres = sorted(set().union(*named.values()))
    membership = np.zeros((len(order), len(ids)), dtype=np.float32)
    subgenre = np.zeros((len(order), len(subgenres)), dtype=np.float32)
    for at, playlist in enumerate(order):
        membership[at, sorted(members[playlist])] = 1
        subgenre[at, [subgenres.index(name) for name in named.get(playlist, ())]] = 1
    columns = (*FEATURES, "loudness", "liveness")
    raw = np.array([[track.values.get(c) for c in columns] for track in tracks], dtype=np.float64)
    released = [track.values.get("release_date") for track in tracks]
    bare = Catalogue(
        ids=ids,
        tracks=build_tracks(
            audio=audio_rows(raw[:, : len(FEATURES)]),
            artist=places(artist_keys, artists),
            popularity=np.array([t.values.get("popularity") for t in tracks], dtype=float) / 100,
            category=[None] * len(ids),
            genres=[()] * len(ids),
            released=np.array(
                [
                    (d - date(1970, 1, 1)).days if isinstance(d, date) else UNKNOWN_DATE
                    for d in released
                ]
            ),
        ),
        artist_keys=artist_keys,
        genres=[()] * len(ids),
    )
    background = Background.of(bare.tracks)
    felt = background.of_tracks(bare.tracks)[:, : len(FEATURES)]
    rest = raw[:, len(FEATURES) :]
    rest = (rest - np.nanmean(rest, axis=0)) / np.nanstd(rest, axis=0)
    audio = np.nan_to_num(np.column_stack([felt, rest])).astype(np.float32)
    return Playlists(bare, membership, subgenre, subgenres, audio)


def halves(playlists: Playlists, playlist: int, seed: int) -> tuple[Rows, Rows]:
    """Return the seen and the hidden half of a playlist, drawn at random."""
    rows = np.flatnonzero(playlists.membership[playlist])
    rows = np.random.default_rng([seed, playlist]).permutation(rows)
    return rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]


def _grid(**values: Sequence[float]) -> list[Setting]:
    settings: list[dict[str, float]] = [{}]
    for name, options in values.items():
        settings = [s | {name: option} for s in settings for option in options]
    return list(settings)


PEERS: Mapping[str, Sequence[Setting]] = {
    "popularity": [{"source": 0}, {"source": 1}],
    "artist co-occurrence": _grid(damping=(0.0, 0.5), own=(0.3, 1.0), tie=(0.0, 0.2)),
    "artist + subgenre": _grid(share=(0.05, 0.3), damping=(0.0, 0.5), own=(1.0,), tie=(0.0, 0.2)),
    "item-kNN": _grid(shrink=(0.0, 1.0, 5.0, 20.0), power=(0.3, 0.5)),
    "audio neighbours": _grid(nearest=(1, 3, 10, 0), tie=(0.0, 0.5)),
    "ALS": _grid(factors=(32, 96), penalty=(1.0, 10.0), alpha=(5.0, 40.0)),
}
OURS = _grid(focus=(0.5, 1.0))
FLOORS = (0.0, 3.0, 3.5)
"""Bits; 3.5 is the success criterion of the product for a list."""
BEST = 500
COLD_PEERS = ("audio neighbours", "artist co-occurrence")


class _Split:
    """Training playlists, and others of which a part is hidden."""

    def __init__(
        self, data: Playlists, train: Rows, others: Rows, seed: int, cold: NDArray[np.bool_] | None
    ) -> None:
        self.data, self.train, self.cold = data, train, cold
        known = data.membership[train].copy()
        if cold is not None:
            known[:, cold] = 0
        self.known = Known(
            known,
            data.bare.tracks.artist,
            data.subgenre[train],
            data.audio,
            np.nan_to_num(data.bare.tracks.popularity),
        )
        self.asked: list[tuple[int, Rows, Rows]] = []
        for playlist in others.tolist():
            seen, hidden = halves(data, playlist, seed)
            if cold is not None:
                everything = np.concatenate([seen, hidden])
                seen, hidden = seen[~cold[seen]], everything[cold[everything]]
            if len(seen) and len(hidden):
                self.asked.append((playlist, seen, hidden))

    def peer(self, name: str, setting: Setting) -> Callable[[int, Rows], Floats]:
        """Return what scores all tracks for a place in `asked`."""
        known, asked, data = self.known, self.asked, self.data
        if name == "popularity":
            counts = known.popularity if setting["source"] else known.counts.astype(np.float64)
            return lambda _, __: counts
        if name == "artist co-occurrence":
            return lambda _, seen: artist_cooccurrence(known, seen, **setting)
        if name == "artist + subgenre":
            return lambda at, seen: artist_and_subgenre(
                known, seen, data.subgenre[asked[at][0]], **setting
            )
        if name == "item-kNN":
            return lambda _, seen: track_knn(known, seen, **setting)
        if name == "audio neighbours":
            nearest, tie = int(setting["nearest"]), setting["tie"]
            return lambda _, seen: audio_neighbours(known, seen, nearest=nearest, tie=tie)
        rows = np.zeros((len(asked), len(data.bare)), dtype=np.float32)
        for at, (_, seen, _) in enumerate(asked):
            rows[at, seen] = 1
        scores = als(
            known.membership,
            rows,
            factors=int(setting["factors"]),
            penalty=setting["penalty"],
            alpha=setting["alpha"],
        )
        return lambda at, _: scores[at].astype(np.float64)

    def model(self, focus: float) -> tuple[Colisten, Catalogue]:
        """Fit the very model that is registered and served."""
        listenings = [self._listening(playlist) for playlist in self.train.tolist()]
        with threadpool_limits(limits=1):
            model = fit_colisten(listenings, self._catalogue, seed=7, focus=focus)
        return model, self._catalogue(listenings)

    def _listening(self, playlist: int) -> PlaylistListening:
        rows = np.flatnonzero(self.data.membership[playlist])
        if self.cold is not None:
            rows = rows[~self.cold[rows]]
        once = listened_to(self.data.bare, rows)
        plays = dict(zip(once.artists, once.plays.tolist(), strict=True))
        return PlaylistListening(plays, once.tracks, playlist)

    def _catalogue(self, listenings: Sequence[Listening]) -> Catalogue:
        at = [one.playlist for one in listenings if isinstance(one, PlaylistListening)]
        catalogue = self.data.catalogue(np.array(at, dtype=np.int64))
        if self.cold is None:
            return catalogue
        pairs = zip(catalogue.genres, self.cold.tolist(), strict=True)
        return replace(catalogue, genres=[() if is_cold else names for names, is_cold in pairs])

    def mean_of_peer(self, name: str, setting: Setting) -> float:
        """Return a peer's mean NDCG."""
        return float(self.values(self.peer(name, setting)).mean())

    def mean_of_ours(self, setting: Setting) -> float:
        """Return our mean NDCG."""
        return float(self.values(_scorer(*self.model(setting["focus"]))).mean())

    def lists(self, score: Callable[[int, Rows], Floats], finest: Rows, bits: float) -> Floats:
        """Return (asked, 4), see `run`."""
        tracks, rows = self.data.bare.tracks, []
        for at, (_, seen, hidden) in enumerate(self.asked):
            scores = score(at, seen).copy()
            scores[seen] = -np.inf
            listed = _chosen(scores, finest, bits)
            gains = 1 / np.log2(np.arange(2, K + 2))
            found = float(gains[np.isin(listed, hidden)].sum() / gains[: len(hidden)].sum())
            new = ~np.isin(tracks.artist[listed], tracks.artist[seen])
            novel = 1 - float(np.nanmean(tracks.popularity[listed]))
            rows.append((found, entropy(finest[listed].tolist()), novel, float(new.mean())))
        return np.array(rows)

    def values(self, score: Callable[[int, Rows], Floats]) -> Floats:
        """Return each asked playlist's NDCG@50."""
        values = np.zeros(len(self.asked))
        for at, (_, seen, hidden) in enumerate(self.asked):
            scores = score(at, seen).copy()
            scores[seen] = -np.inf
            if self.cold is not None:
                scores[~self.cold] = -np.inf
            is_hidden = np.zeros(len(scores), dtype=np.bool_)
            is_hidden[hidden] = True
            values[at] = ndcg_of(scores, is_hidden, K)
        return values


def _chosen(scores: Floats, finest: Rows, bits: float) -> Rows:
    """Return the best 50 of the best 500, best first, under a floor of entropy (0: none)."""
    best = ranked(scores, BEST)
    floor = EntropyFloor(finest[best], bits=bits, length=K)
    score = -np.arange(len(best), dtype=np.float64)
    chosen = []
    for _ in range(K):
        at = floor.best(score) if bits else int(score.argmax())
        floor.take(at)
        score[at] = -np.inf
        chosen.append(int(best[at]))
    return np.array(chosen)


def run(
    data: Playlists, say: Callable[[str], None], *, is_cold: bool = False
) -> tuple[Compared, dict[str, Floats], dict[float, Floats]]:
    """Return the comparison, our values without each reason, and our lists under entropy floors.

    Of each list of 50: NDCG, entropy in bits, 1 - popularity, and the share of artists that the
    seen half does not have; one row per playlist, by floor.
    """
    size = data.membership.sum(axis=1)
    long = np.flatnonzero(size >= FEWEST_TRACKS)
    order = np.random.default_rng(7).permutation(long)
    peers = COLD_PEERS if is_cold else tuple(PEERS)
    pooled: dict[str, list[Floats]] = {}
    lists: dict[float, list[Floats]] = {bits: [] for bits in FLOORS}
    finest = data.catalogue(np.arange(len(size))).genre
    ablations: dict[str, list[Floats]] = {reason: [] for reason in REASONS}
    for split in range(SPLITS):
        test = np.sort(order[split::SPLITS])
        train = np.setdiff1d(np.arange(len(size)), test)
        rng = np.random.default_rng(split)
        inner = np.sort(rng.choice(np.intersect1d(train, long), len(test), replace=False))
        cold = rng.random(len(data.bare)) < COLD if is_cold else None
        trial = _Split(data, np.setdiff1d(train, inner), inner, split, cold)
        final = _Split(data, train, test, 100 + split, cold)
        for name in peers:
            chosen = best_setting(PEERS[name], partial(trial.mean_of_peer, name))
            pooled.setdefault(name, []).append(final.values(final.peer(name, chosen)))
            say(f"split {split + 1}: {name} {pooled[name][-1].mean():.4f} with {dict(chosen)}")
        focus = best_setting(OURS, trial.mean_of_ours)["focus"]
        model, catalogue = final.model(focus)
        pooled.setdefault("ours", []).append(final.values(_scorer(model, catalogue)))
        say(f"split {split + 1}: ours {pooled['ours'][-1].mean():.4f} with focus {focus}")
        if not is_cold:
            score = _scorer(model, catalogue)
            for bits in FLOORS:
                lists[bits].append(final.lists(score, finest, bits))
        for at, reason in enumerate(REASONS):
            weights = model.by_tracks.weights.copy()
            weights[at] = 0
            less = replace(model, by_tracks=replace(model.by_tracks, weights=weights))
            ablations[reason].append(final.values(_scorer(less, catalogue)))
    values = {name: np.concatenate(parts) for name, parts in pooled.items()}
    mine = values.pop("ours")
    pooled_lists = {bits: np.concatenate(parts) for bits, parts in lists.items() if parts}
    without = {reason: np.concatenate(parts) for reason, parts in ablations.items()}
    return Compared(mine, values), without, pooled_lists


def _scorer(model: Colisten, catalogue: Catalogue) -> Callable[[int, Rows], Floats]:
    joined = ColistenIn.of(model, catalogue)

    def score(_: int, seen: Rows) -> Floats:
        taste = joined.taste(listened_to(catalogue, seen))
        return np.zeros(len(catalogue)) if taste is None else taste.z(catalogue.tracks)

    return score
