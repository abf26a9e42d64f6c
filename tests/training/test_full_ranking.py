from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommender.background import Background
from recommender.cold_start import Stage
from recommender.colisten import Colisten
from recommender.components import evaluate
from recommender.exploration import Greedy
from recommender.listener import Listener
from recommender.ranking import Rules, rank
from recommender.taste import ColistenIn, Taste
from recommender.tracks import UNKNOWN_DATE, Catalogue, Tracks, build_tracks
from training.evaluation import full_ranking
from training.evaluation.all_tracks import colisten_bounds
from training.evaluation.full_ranking import FullRanking
from training.fit.grains import fit_grain
from training.fit.mixes import listened_to

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


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_shorter_ways_say_what_the_components_say(missing: float) -> None:
    tracks = tracks_of(7, missing)
    rng = np.random.default_rng(7)
    heard = np.sort(rng.choice(N, 40, replace=False))
    full = FullRanking(tracks)
    for of in (heard[:0], heard):
        listener = Listener(
            Stage.MONTH_2_PLUS,
            traits={"openness": 0.9, "extraversion": 0.2, "neuroticism": 0.7},
            history_audio=tracks.audio[of],
            history_weight=np.linspace(0.1, 1, len(of)),
            heard=of,
            # Artists of which no track was heard are among them, and one without any track.
            heard_artists=np.append(np.unique(tracks.artist[of]), [3, 10**6]),
        )
        expected = evaluate(listener, tracks)
        found = full.components(listener)
        assert found.keys() == expected.keys()
        for key in ("novelty", "personality", "popularity"):
            np.testing.assert_array_equal(found[key], expected[key])
        np.testing.assert_allclose(found["history"], expected["history"], atol=1e-6)


def joined_model(tracks: Tracks, rng: np.random.Generator) -> ColistenIn:
    """Co-listening of 60 random histories of 20 tracks each."""
    catalogue = Catalogue(
        ids=np.array([b"%06d" % at for at in range(len(tracks))]),
        tracks=tracks,
        artist_keys=np.array([b"artist%04d" % at for at in range(N)]),
        genres=[()] * len(tracks),
    )
    histories = [
        listened_to(catalogue, np.sort(rng.choice(N, 20, replace=False))) for _ in range(60)
    ]
    model = Colisten(
        fit_grain([dict.fromkeys(one.artists, 1.0) for one in histories], seed=1, factors=8),
        fit_grain([dict.fromkeys(one.tracks, 1.0) for one in histories], seed=1, factors=8),
        Background.of(tracks),
    )
    return ColistenIn.of(model, catalogue)


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_on_co_listening_change_no_list(
    seed: int, missing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = replace(tracks_of(seed, missing), released=np.arange(N) % 50)
    rng = np.random.default_rng(seed)
    joined = joined_model(tracks, rng)
    full = FullRanking(joined.catalogue.canonical_tracks)
    weights = [
        {"colisten": 0.6, "history": 0.2, "popularity": 0.1, "diversity": 0.1},
        {"colisten": 0.3, "personality": 0.7},
        {"popularity": 0.9, "novelty": 0.1},
    ]
    judged: list[int] = []
    bounds = colisten_bounds

    def counted(taste: Taste, tracks: Tracks) -> Any:
        judged.append(len(tracks))
        lowest, highest = bounds(taste, tracks)
        exact = taste.worth(tracks)
        assert (lowest <= exact).all()
        assert (exact <= highest).all()
        return lowest, highest

    monkeypatch.setattr(full_ranking, "colisten_bounds", counted)
    for heard in (np.arange(3), np.sort(rng.choice(N, 30, replace=False))):
        listener = Listener(
            Stage.MONTH_2_PLUS,
            traits={"openness": 0.9},
            history_audio=tracks.audio[heard],
            history_weight=np.ones(len(heard)),
            heard=heard,
            heard_artists=np.unique(tracks.artist[heard]),
            taste=joined.taste(listened_to(joined.catalogue, heard)),
        )
        components = evaluate(listener, tracks)
        assert components["colisten"].std() > 0
        expected = [full.best(listener, components, one).tolist() for one in weights]
        monkeypatch.setattr(full_ranking, "EXACT", N)
        assert [rows.tolist() for rows in full.lists(listener, weights)] == expected
        monkeypatch.setattr(full_ranking, "EXACT", 100)
        assert [rows.tolist() for rows in full.lists(listener, weights)] == expected
    assert judged == [N, N]
