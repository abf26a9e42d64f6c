"""SiTunes: whether a listener who rated some tracks likes another one.

Thirty people rated tracks of stage 1; stage 2 is to be told apart, 4 and more from less. One AUC
per person whose stage 2 has both, so that nobody's habit of rating high counts. Thirty people prove
little: the interval says how little.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.tasks.tuning import Compared, Floats, Setting, best_setting
from recommender.audio import FEATURES, audio_rows
from recommender.background import Background
from recommender.cold_start import Stage
from recommender.colisten import Colisten
from recommender.components import STATIC
from recommender.grain import Grain
from recommender.keys import sorted_keys
from recommender.listener import Listener
from recommender.taste import ColistenIn
from recommender.tracks import UNKNOWN_DATE, Catalogue, build_tracks
from training.fit.mixes import listened_to

LIKED = 4
SETTINGS: Sequence[Setting] = [{"C": c} for c in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)]


class SiTunes:
    """Both stages over one catalogue of items; an item without features has none."""

    def __init__(self, folder: Path) -> None:
        music = pd.read_csv(folder / "situnes" / "music.csv.gz").drop_duplicates("item_id")
        stages = [pd.read_csv(folder / "situnes" / f"stage{n}.csv.gz") for n in (1, 2)]
        names = set(music.item_id.astype(str))
        for stage in stages:
            names |= set(stage.item_id.astype(str))
        ids = sorted_keys(names)
        keys = [key.decode() for key in ids.tolist()]
        found = music.set_index(music.item_id.astype(str)).reindex(keys)
        singers = found["singer"].fillna("").astype(str).tolist()
        artists = [name or f"?{key}" for name, key in zip(singers, keys, strict=True)]
        artist_keys = sorted_keys(artists)
        code = {key.decode(): at for at, key in enumerate(artist_keys.tolist())}
        genres = [(str(g),) if isinstance(g, str) else () for g in found["general_genre"]]
        self.catalogue = Catalogue(
            ids=ids,
            tracks=build_tracks(
                audio=audio_rows(found[list(FEATURES)].to_numpy(dtype=float)),
                artist=np.array([code[name] for name in artists], dtype=np.int64),
                popularity=found["popularity"].to_numpy(dtype=float) / 100,
                category=[None] * len(ids),
                genres=genres,
                released=np.full(len(ids), UNKNOWN_DATE),
            ),
            artist_keys=artist_keys,
            genres=genres,
        )
        place = {key: at for at, key in enumerate(keys)}
        for stage in stages:
            stage["row"] = stage.item_id.astype(str).map(place)
            stage["liked"] = (stage.rating >= LIKED).astype(int)
        self.first, self.second = stages

    def features(self, rows: NDArray[np.int64]) -> Floats:
        """Return the audio features and popularity, 0.5 where missing, for the peers."""
        tracks = self.catalogue.tracks
        table = np.column_stack([tracks.audio[rows], tracks.popularity[rows]])
        return np.nan_to_num(table.astype(np.float64), nan=0.5)


def _item_means(ratings: pd.DataFrame, size: int, shrinkage: float) -> Floats:
    total = np.bincount(ratings.row, ratings.liked, minlength=size)
    count = np.bincount(ratings.row, minlength=size)
    overall = float(ratings.liked.mean())
    means: Floats = (total + shrinkage * overall) / np.maximum(count + shrinkage, 1e-9)
    filled: Floats = np.where(count + shrinkage > 0, means, overall)
    return filled


def _parts(data: SiTunes, train: pd.DataFrame, asked: pd.DataFrame) -> Floats:
    """Return (rows, 12): audio and popularity, and what the product's components say.

    The item's shrunk mean stands for popularity among these listeners; history and colisten are the
    served components of a listener who heard what they liked in `train`.
    """
    catalogue = data.catalogue
    model = Colisten(Grain.empty(), Grain.empty(), Background.of(catalogue.tracks))
    joined = ColistenIn.of(model, catalogue)
    rows = asked.row.to_numpy(dtype=np.int64)
    own = np.full((len(asked), 2), 0.5)
    for user in np.unique(asked.user_id):
        at = np.flatnonzero((asked.user_id == user).to_numpy())
        mine = train[(train.user_id == user) & (train.liked == 1)]
        liked = np.unique(mine.row.to_numpy(dtype=np.int64))
        listener = Listener(
            Stage.MONTH_2_PLUS,
            history_audio=catalogue.tracks.audio[liked],
            history_weight=np.ones(len(liked)),
            taste=joined.taste(listened_to(catalogue, liked)),
        )
        tracks = catalogue.tracks.take(rows[at])
        own[at] = np.column_stack(
            [STATIC[key](listener, tracks) for key in ("history", "colisten")]
        )
    means = [_item_means(train, len(catalogue), shrinkage)[rows] for shrinkage in (1.0, 10.0)]
    return np.column_stack([data.features(rows), *means, own])


def _ours(
    data: SiTunes, train: pd.DataFrame, asked: pd.DataFrame, penalty: float, *, seed: int
) -> Floats:
    """Return what a logistic regression says, fitted to rows that did not make their features."""
    fold = np.random.default_rng(seed).permutation(len(train)) % 5
    parts = [_parts(data, train[fold != held], train[fold == held]) for held in range(5)]
    liked = np.concatenate([train[fold == held].liked.to_numpy() for held in range(5)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty))
    fitted = model.fit(np.concatenate(parts), liked)
    answer: Floats = fitted.predict_proba(_parts(data, train, asked))[:, 1]
    return answer


def aucs(test: pd.DataFrame, scores: Floats, users: Sequence[int]) -> Floats:
    """Return one AUC per listed person."""
    values = []
    for user in users:
        at = (test.user_id == user).to_numpy()
        values.append(roc_auc_score(test.liked[at], scores[at]))
    return np.array(values, dtype=np.float64)


def both_kinds(test: pd.DataFrame) -> list[int]:
    """Return the people who liked some of a stage's tracks and not others."""
    kinds = test.groupby("user_id").liked.nunique()
    return [int(user) for user in kinds[kinds == 2].index]


def run(folder: Path) -> tuple[Compared, int]:
    """Return the comparison, and how many people it rests on."""
    data = SiTunes(folder)
    first, second = data.first, data.second.reset_index(drop=True)
    fold = np.random.default_rng(7).permutation(len(first)) % 5

    def within_first(setting: Setting) -> float:
        values = []
        for held in range(5):
            train, test = first[fold != held], first[fold == held].reset_index(drop=True)
            scores = _ours(data, train, test, setting["C"], seed=held)
            values.append(aucs(test, scores, both_kinds(test)))
        return float(np.concatenate(values).mean())

    chosen = best_setting(SETTINGS, within_first)
    users = both_kinds(second)
    rows = second.row.to_numpy(dtype=np.int64)
    x, y = data.features(first.row.to_numpy(dtype=np.int64)), first.liked.to_numpy()
    logistic = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    boosting = GradientBoostingClassifier(random_state=7, n_estimators=50, max_depth=2).fit(x, y)
    peers = {
        "item mean": _item_means(first, len(data.catalogue), 0.0)[rows],
        "logistic regression": logistic.predict_proba(data.features(rows))[:, 1],
        "gradient boosting": boosting.predict_proba(data.features(rows))[:, 1],
    }
    ours = _ours(data, first, second, chosen["C"], seed=7)
    values = {name: aucs(second, scores, users) for name, scores in peers.items()}
    return Compared(aucs(second, ours, users), values), len(users)
