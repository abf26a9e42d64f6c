import numpy as np
import pytest

from recommender.cold_start import Stage
from recommender.exploration import Greedy
from recommender.listener import Listener
from recommender.ranking import Rules, rank
from recommender.tracks import UNKNOWN_DATE, Tracks, build_tracks
from training.evaluation.full_ranking import FullRanking

N = 1500
WEIGHTS = (
    {"history": 0.5, "popularity": 0.4, "diversity": 0.1},
    {"history": 0.4, "personality": 0.4, "diversity": 0.1, "novelty": 0.1},
    {"popularity": 0.6, "history": 0.4},
    {"diversity": 1.0},
)


def tracks_of(seed: int, missing: float) -> Tracks:
    rng = np.random.default_rng(seed)
    audio = rng.uniform(0.05, 1, (N, 7)).astype(np.float32)
    audio[rng.random((N, 7)) < missing] = np.nan
    return build_tracks(
        audio=audio,
        artist=np.sort(rng.integers(0, N // 3, N)),
        popularity=rng.integers(0, 100, N) / 100,
        category=[None] * N,
        genres=[()] * N,
        released=np.full(N, UNKNOWN_DATE),
    )


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", range(3))
def test_it_lists_what_the_service_would_out_of_all_tracks(
    seed: int, weights: dict[str, float], missing: float
) -> None:
    tracks = tracks_of(seed, missing)
    rng = np.random.default_rng(seed)
    heard = np.sort(rng.choice(N, 30, replace=False))
    listener = Listener(
        Stage.MONTH_2_PLUS,
        traits={"openness": 0.9, "extraversion": 0.2},
        history_audio=tracks.audio[heard],
        history_weight=rng.uniform(0.1, 1, 30),
        heard=heard,
        heard_artists=np.unique(tracks.artist[heard]),
        disliked=np.array([5, 6]),
    )
    full = FullRanking(tracks)
    components = full.components(listener)
    nothing = np.zeros(N, dtype=np.bool_)
    served = rank(
        tracks,
        components,
        weights=weights,
        rl_adjustment=np.zeros(N),
        rules=Rules(
            never=np.isin(tracks.row, listener.disliked),
            heard=np.isin(tracks.row, heard),
            shown=nothing,
        ),
        policy=Greedy(0.0, rng),
    )
    assert full.best(listener, components, weights).tolist() == tracks.row[served.place].tolist()
