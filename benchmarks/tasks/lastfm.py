"""Last.fm: the artists that a listener whom nobody has seen plays as well.

Five splits of the listeners, so that each is tested once. Of a test listener a fifth of the artists
is hidden; all other artists are ranked. Settings are chosen on a fifth of the training listeners,
treated the same way, and the model is then fitted to all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.peers import closed_form, implicit_models
from benchmarks.peers.closed_form import Matrix
from benchmarks.tasks.tuning import Compared, Floats, Setting, best_setting, ndcg_of, ranked
from features.sources.files import read_table
from features.sources.lastfm import ARTISTS, USER_ARTISTS, read_counts, read_names
from training.fit.grains import fit_grain

K = 10
SPLITS = 5
HIDDEN = 0.2
Model = Callable[..., Matrix]


def read(folder: Path) -> Sequence[Mapping[str, float]]:
    """Return each listener's plays per artist, as the product's own import reads them."""
    counts = read_counts(
        read_table(folder / USER_ARTISTS), read_names(read_table(folder / ARTISTS))
    )
    listeners: dict[str, dict[str, float]] = {}
    for (user, artist), plays in counts.plays.items():
        listeners.setdefault(user, {})[artist] = float(plays)
    return [listeners[user] for user in sorted(listeners)]


def hide(
    listeners: Sequence[Mapping[str, float]], seed: int
) -> tuple[list[Mapping[str, float]], list[frozenset[str]]]:
    """Hide a fifth of each listener's artists, at least one; who has a single artist drops out."""
    rng = np.random.default_rng(seed)
    seen: list[Mapping[str, float]] = []
    hidden: list[frozenset[str]] = []
    for plays in listeners:
        names = sorted(plays)
        if len(names) < 2:
            continue
        count = max(1, round(HIDDEN * len(names)))
        away = frozenset(names[at] for at in rng.choice(len(names), count, replace=False))
        seen.append({name: plays[name] for name in names if name not in away})
        hidden.append(away)
    return seen, hidden


def log_shares(listeners: Sequence[Mapping[str, float]], place: Mapping[str, int]) -> Matrix:
    """Return (listeners, items) ln(1 + plays) / the listener's largest."""
    x = np.zeros((len(listeners), len(place)), dtype=np.float32)
    for row, plays in enumerate(listeners):
        for name, count in plays.items():
            if name in place:
                x[row, place[name]] = np.log1p(count)
    largest: Matrix = np.maximum(x.max(axis=1, keepdims=True), 1e-9)
    return x / largest


def ours(
    train: Sequence[Mapping[str, float]],
    seen: Sequence[Mapping[str, float]],
    place: Mapping[str, int],
    *,
    spectral_ridge: float,
    factors: float,
) -> Matrix:
    """Fit the very grain that is registered and served, and fold every test listener in."""
    with threadpool_limits(limits=1):
        grain = fit_grain(train, seed=7, spectral_ridge=spectral_ridge, factors=int(factors))
    column = np.array([place[key.decode()] for key in grain.keys.tolist()])
    scores = np.full((len(seen), len(place)), -1e3, dtype=np.float32)
    for row, plays in enumerate(seen):
        scores[row, column] = grain.scores(list(plays), np.array(list(plays.values())))
    return scores


PEERS: Mapping[str, tuple[Model, str, Sequence[Setting]]] = {
    "popularity": (closed_form.popularity, "binary", [{}]),
    "item-kNN": (
        closed_form.item_knn,
        "log",
        [
            {"shrink": shrink, "power": power, "neighbours": neighbours}
            for shrink in (0.0, 0.5)
            for power in (0.4, 0.5)
            for neighbours in (0, 200)
        ],
    ),
    "EASE binary": (
        closed_form.ease,
        "binary",
        [{"penalty": p} for p in (20, 35, 50, 75, 100, 150, 250, 400)],
    ),
    "EASE log": (
        closed_form.ease,
        "log",
        [{"penalty": p} for p in (5, 8, 12, 18, 26, 40, 60, 100)],
    ),
    "ALS": (
        implicit_models.als,
        "log",
        [
            {"factors": f, "penalty": p, "alpha": a}
            for f, p, a in (
                (64, 1, 5), (64, 5, 5), (128, 10, 5), (128, 5, 3),
                (128, 20, 10), (192, 10, 5), (256, 10, 5), (64, 3, 2),
            )
        ],
    ),
    "BPR (transductive)": (
        implicit_models.bpr,
        "binary",
        [
            {"factors": f, "rate": r, "iterations": i}
            for f in (32, 64) for r in (0.01, 0.03) for i in (50, 120)
        ],
    ),
}  # fmt: skip
OURS: Sequence[Setting] = [
    {"spectral_ridge": ridge, "factors": factors} for ridge in (6.0, 12.0) for factors in (96, 128)
]


def _rows(
    scores: Matrix,
    seen: Sequence[Mapping[str, float]],
    hidden: Sequence[frozenset[str]],
    place: Mapping[str, int],
    ids: Sequence[str],
) -> tuple[Floats, list[NDArray[np.int64]]]:
    values, lists = np.zeros(len(seen)), []
    for row, (plays, away) in enumerate(zip(seen, hidden, strict=True)):
        line = scores[row].astype(np.float64)
        line[[place[name] for name in plays if name in place]] = -np.inf
        # Hidden artists that no training listener plays cannot be found, and still count.
        is_hidden = np.zeros(len(ids) + len(away), dtype=np.bool_)
        known = [place[name] for name in away if name in place]
        is_hidden[known] = True
        is_hidden[len(ids) : len(ids) + len(away) - len(known)] = True
        full = np.append(line, np.full(len(away), -np.inf))
        values[row] = ndcg_of(full, is_hidden, K)
        lists.append(ranked(line, K))
    return values, lists


def run(
    listeners: Sequence[Mapping[str, float]], say: Callable[[str], None]
) -> tuple[Compared, dict[str, float], dict[str, float]]:
    """Return the comparison, each model's coverage, and its novelty (mean -log2 of popularity).

    Coverage: distinct artists in the lists of ten of all test listeners of a split, a share of the
    artists that two training listeners play, averaged over splits.
    """
    order = np.random.default_rng(7).permutation(len(listeners))
    values: dict[str, list[Floats]] = {}
    coverage: dict[str, list[float]] = {}
    novelty: dict[str, list[float]] = {}
    for split in range(SPLITS):
        train = [listeners[at] for at in np.sort(order[np.arange(len(order)) % SPLITS != split])]
        test = [listeners[at] for at in np.sort(order[np.arange(len(order)) % SPLITS == split])]
        inner = np.random.default_rng(split).permutation(len(train)) % SPLITS
        fitted = [one for one, at in zip(train, inner, strict=True) if at]
        validation = [one for one, at in zip(train, inner, strict=True) if not at]
        trial, final = _Split(fitted, validation, split), _Split(train, test, 100 + split)
        for name in ("ours", *PEERS):
            settings = OURS if name == "ours" else PEERS[name][2]
            chosen = best_setting(settings, partial(trial.mean, name))
            result, lists = final.values(name, chosen)
            values.setdefault(name, []).append(result)
            listed = np.concatenate(lists)
            coverage.setdefault(name, []).append(len(np.unique(listed)) / len(final.place))
            novelty.setdefault(name, []).append(float(-np.log2(final.popular[listed]).mean()))
            say(f"split {split + 1}: {name} {result.mean():.4f} with {dict(chosen)}")
    pooled = {name: np.concatenate(parts) for name, parts in values.items()}
    mine = pooled.pop("ours")
    return (
        Compared(mine, pooled),
        {name: float(np.mean(parts)) for name, parts in coverage.items()},
        {name: float(np.mean(parts)) for name, parts in novelty.items()},
    )


class _Split:
    """Training listeners, and others with a part hidden."""

    def __init__(
        self,
        train: Sequence[Mapping[str, float]],
        others: Sequence[Mapping[str, float]],
        seed: int,
    ) -> None:
        self.train = train
        self.seen, self.hidden = hide(others, seed)
        listeners: dict[str, int] = {}
        for plays in train:
            for name in plays:
                listeners[name] = listeners.get(name, 0) + 1
        self.ids = sorted(name for name, count in listeners.items() if count >= 2)
        self.place = {name: at for at, name in enumerate(self.ids)}
        self.popular = np.array([listeners[name] / len(train) for name in self.ids])
        self.log = log_shares(train, self.place), log_shares(self.seen, self.place)
        self.binary = tuple((x > 0).astype(np.float32) for x in self.log)

    def mean(self, name: str, setting: Setting) -> float:
        """Return the mean NDCG."""
        return float(self.values(name, setting)[0].mean())

    def values(self, name: str, setting: Setting) -> tuple[Floats, list[NDArray[np.int64]]]:
        """Return each listener's NDCG and list."""
        if name == "ours":
            scores = ours(self.train, self.seen, self.place, **setting)
        else:
            model, kind, _ = PEERS[name]
            whole = {
                key: int(value) if key in {"factors", "iterations", "neighbours"} else value
                for key, value in setting.items()
            }
            scores = model(*(self.log if kind == "log" else self.binary), **whole)
        return _rows(scores, self.seen, self.hidden, self.place, self.ids)
