"""Tastes: judged together, they say what each says alone."""

import numpy as np

from recommender.background import Background
from recommender.colisten import Colisten, Listened
from recommender.grain import Grain
from recommender.keys import sorted_keys
from recommender.taste import ColistenIn
from recommender.tastes import judge_together
from recommender.tracks import Catalogue, build_tracks

N = 200


def grain_of(keys: list[str], rng: np.random.Generator) -> Grain:
    def factors(size: int) -> np.ndarray:
        return rng.standard_normal((len(keys), size)).astype(np.float32)

    return Grain(sorted_keys(keys), factors(6), factors(6), factors(4), factors(1)[:, 0])


def test_what_is_judged_together_is_what_each_says_alone() -> None:
    rng = np.random.default_rng(1)
    tracks = build_tracks(
        audio=rng.uniform(0.01, 1, (N, 7)).astype(np.float32),
        artist=np.arange(N) // 4,
        popularity=rng.uniform(0, 1, N),
        category=[None] * N,
        genres=[("salsa",)] * N,
        released=np.arange(N),
    )
    artists = [f"artist{at:02}" for at in range(N // 4)]
    ids = [f"{at:03}" for at in range(N)]
    catalogue = Catalogue(sorted_keys(ids), tracks, sorted_keys(artists), [("salsa",)] * N)
    models = [
        ColistenIn.of(
            # Some artists and tracks are unknown to the model, some of its own to the catalogue.
            Colisten(
                grain_of([*artists[3:], "elsewhere"], rng),
                grain_of(ids[::2], rng),
                Background.of(tracks),
            ),
            catalogue,
        )
        for _ in range(2)
    ]
    histories = [
        Listened(
            artists[at : at + 5], np.arange(1.0, 6.0), ids[4 * at : 4 * at + 20], tracks.audio[:9]
        )
        for at in range(0, 40, 5)
    ]
    histories += [Listened(artists[:3], np.ones(3)), Listened(tracks=["nowhere"])]
    together, alone = (
        [models[at % 2].taste(heard) for at, heard in enumerate(histories)] for _ in range(2)
    )
    tastes = [taste for taste in together if taste is not None]
    assert len(tastes) == len(histories)
    judge_together(tastes)
    judge_together([])
    for taste, other in zip(tastes, alone, strict=True):
        assert other is not None
        is_known = not any(taste is one for one in tastes[-2:])
        assert (other.z(tracks).std() > 0) == is_known
        np.testing.assert_allclose(taste.z(tracks), other.z(tracks), atol=1e-4)
        np.testing.assert_array_equal(np.sort(taste.alike(10)), np.sort(other.alike(10)))
