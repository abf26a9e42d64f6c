"""Co-listening finds what a planted world holds, folds anybody in, and survives its files."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.audio import FEATURES
from recommender.background import Background
from recommender.cold_start import Stage
from recommender.colisten import REASONS, Colisten, Listened
from recommender.components import STATIC
from recommender.errors import ModelFormatError
from recommender.grain import Grain
from recommender.listener import Listener
from recommender.taste import ColistenIn
from recommender.tracks import UNKNOWN_DATE, Catalogue, build_tracks
from training.fit.grains import fit_grain

HISTORIES = [
    {f"{kind}{(user + step) % 12:02}": 1.0 + step for step in range(8)}
    for user in range(24)
    for kind in ("a", "b")
]
"""Listeners play eight neighbours on one of two circles of twelve artists, never both."""


@pytest.fixture(scope="module")
def grain() -> Grain:
    return fit_grain(HISTORIES, seed=1)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """Two tracks of each of the 24 artists and of one that nobody plays."""
    rng = np.random.default_rng(3)
    keys = [f"{kind}{n:02}" for kind in ("a", "b") for n in range(12)] + ["z"]
    artist = np.repeat(np.arange(len(keys)), 2)
    n = len(artist)
    audio = rng.uniform(0.1, 0.9, (n, len(FEATURES))).astype(np.float32)
    audio[5] = np.nan
    genres = [("ambient",) if a < 12 else ("metal",) for a in artist.tolist()]
    return Catalogue(
        ids=np.array([b"track-%02d" % at for at in range(n)]),
        tracks=build_tracks(
            audio=audio,
            artist=artist,
            popularity=np.where(np.arange(n) == 7, np.nan, rng.uniform(0, 1, n)),
            category=[None] * n,
            genres=genres,
            released=np.where(np.arange(n) == 9, UNKNOWN_DATE, 18_000 + np.arange(n) // 2),
        ),
        artist_keys=np.array([key.encode() for key in keys]),
        genres=genres,
    )


@pytest.fixture(scope="module")
def model(grain: Grain, catalogue: Catalogue) -> Colisten:
    return Colisten(grain, Grain.empty(), Background.of(catalogue.tracks))


def test_a_new_listener_is_led_around_their_circle(grain: Grain) -> None:
    scores = grain.scores(["a00", "a01", "a02"], np.array([5.0, 3.0, 1.0]))
    new = [at for at, key in enumerate(grain.keys.tolist()) if key not in {b"a00", b"a01", b"a02"}]
    best = sorted(new, key=lambda at: -scores[at])[:3]
    assert all(grain.keys[at].startswith(b"a") for at in best)


def test_a_history_of_unknown_artists_is_mute(grain: Grain) -> None:
    assert not grain.scores(["nobody"], np.ones(1)).any()
    assert not grain.scores([], np.empty(0)).any()


def test_the_order_of_a_history_means_nothing(grain: Grain) -> None:
    names, counts = ["a00", "b01", "a05"], np.array([4.0, 2.0, 9.0])
    backwards = grain.scores(names[::-1], counts[::-1])
    np.testing.assert_allclose(grain.scores(names, counts), backwards, atol=1e-4)


def test_scores_are_standardised_over_what_was_not_played(grain: Grain) -> None:
    """By the formula, every item at hand; `direction` knows only sums over them."""
    names, counts = ["a00", "b01", "a05"], np.array([4.0, 2.0, 9.0])
    at = grain.places(names)
    share = (np.log1p(counts) / np.log1p(counts.max())).astype(np.float32)
    parts = []
    for linear in (
        grain.factors.astype(float) @ grain.fold_in(at, share).astype(float),
        grain.spectral_out.astype(float) @ (share**1.5 @ grain.spectral_in[at]).astype(float),
    ):
        rest = np.delete(linear, at)
        parts.append((linear - rest.mean()) / rest.std())
    expected = parts[0] + 0.5 * parts[1] + 0.3 * grain.rarity
    np.testing.assert_allclose(grain.scores(names, counts), expected, atol=1e-4)
    towards, some = grain.direction(names, counts), np.array([3, 0, 17])
    assert towards is not None
    np.testing.assert_allclose(towards.of(grain.items.take(some)), expected[some], atol=1e-4)


def test_equal_seed_and_histories_give_equal_bytes(grain: Grain) -> None:
    assert fit_grain(HISTORIES, seed=1).to_files("x") == grain.to_files("x")


def test_a_listener_of_training_who_is_folded_in_equals_one_who_is_not(grain: Grain) -> None:
    """Fold-in solves what training solves: the last half step of a training listener's factors."""
    one = HISTORIES[0]
    at = grain.places(list(one))
    counts = np.array(list(one.values()))
    share = (np.log1p(counts) / np.log1p(counts.max())).astype(np.float32)
    u, y, w = grain.fold_in(at, share).astype(np.float64), grain.factors.astype(np.float64), 0.1
    confidence = np.full(len(grain), w)
    confidence[at] += share
    target = np.zeros(len(grain))
    target[at] = share + w
    penalty = 0.01 * (len(at) + w * len(grain))
    gradient = (y.T * confidence) @ y @ u - y.T @ target + penalty * u
    assert np.abs(gradient).max() < 1e-4


def test_files_round_trip(model: Colisten) -> None:
    files = model.to_files()
    again = Colisten.from_files(files)
    assert again.to_files() == files
    assert all(name.endswith((".npy", ".json")) for name in files)


@pytest.mark.parametrize("name", ["colisten.json", "artists_factors.npy", "tracks_keys.npy"])
def test_damaged_files_are_refused(model: Colisten, name: str) -> None:
    files = dict(model.to_files())
    with pytest.raises(ModelFormatError, match="colisten"):
        Colisten.from_files(files | {name: files[name][: len(files[name]) // 2]})
    del files[name]
    with pytest.raises(ModelFormatError, match="colisten"):
        Colisten.from_files(files)


def test_what_does_not_fit_together_is_refused(model: Colisten) -> None:
    files = dict(model.to_files())
    files["artists_rarity.npy"] = files["tracks_rarity.npy"]
    with pytest.raises(ModelFormatError, match="fit"):
        Colisten.from_files(files)


def listened(catalogue: Catalogue, *rows: int) -> Listened:
    at = np.array(rows)
    artists, plays = np.unique(catalogue.tracks.artist[at], return_counts=True)
    return Listened(
        [catalogue.artist_keys[a].decode() for a in artists.tolist()],
        plays.astype(float),
        [catalogue.id_of(row) for row in rows],
        catalogue.tracks.audio[at],
    )


def test_every_value_lies_in_its_range_and_batch_equals_scalar(
    model: Colisten, catalogue: Catalogue
) -> None:
    joined = ColistenIn.of(model, catalogue)
    for history in (listened(catalogue, 0, 2, 4, 5, 7, 9, 20), Listened(["b03"], np.ones(1))):
        taste = joined.taste(history)
        assert taste is not None
        together = taste.worth(catalogue.tracks)
        assert (together >= 0).all()
        assert (together <= 1).all()
        assert np.isfinite(taste.z(catalogue.tracks)).all()
        again = joined.taste(history)
        assert again is not None
        np.testing.assert_allclose(again.worth(catalogue.canonical_tracks), together, atol=1e-6)
        few = catalogue.tracks.take(np.array([7, 3]))  # looked up among all of them
        np.testing.assert_allclose(again.worth(few), together[[7, 3]], atol=1e-6)
        alone = [
            taste.z(catalogue.tracks.take(np.array([row])))[0] for row in range(len(catalogue))
        ]
        np.testing.assert_allclose(taste.z(catalogue.tracks), alone, atol=1e-4)


@pytest.mark.parametrize("rows", [(0, 2), (0, 2, 4, 5, 7, 9, 20)])
def test_z_is_the_weighted_sum_of_the_reasons(
    model: Colisten, catalogue: Catalogue, rows: tuple[int, ...]
) -> None:
    """Mixes that weigh everything, and each reason alone."""
    for weights in (np.arange(1.0, 10.0), *np.eye(len(REASONS))):
        mix = replace(model.by_tracks, weights=weights)
        joined = ColistenIn.of(replace(model, by_tracks=mix, by_artists=mix), catalogue)
        taste = joined.taste(listened(catalogue, *rows))
        assert taste is not None
        for tracks in (catalogue.tracks, catalogue.canonical_tracks):
            expected = taste.reasons(tracks) @ weights
            np.testing.assert_allclose(taste.z(tracks), expected, atol=1e-4)


def test_reasons_by_hand(model: Colisten, catalogue: Catalogue) -> None:
    """Rows 0 and 1 are by artist a00, of one day; 0 and 2 were heard."""
    taste = ColistenIn.of(model, catalogue).taste(listened(catalogue, 0, 2))
    assert taste is not None
    reasons = dict(zip(REASONS, taste.reasons(catalogue.tracks).T, strict=True))
    assert reasons["same_artist"][[0, 1, 4]].tolist() == pytest.approx([np.log(2), np.log(2), 0])
    assert reasons["release"][[1, 4, 9]].tolist() == [1.0, 0.0, 0.0]
    assert reasons["age"][9] == 0  # its day is not known
    assert reasons["popularity"][7] == 0
    assert reasons["audio"][5] == 0
    assert (reasons["track"] == 0).all()  # the grain of tracks is empty
    assert reasons["genre"][0] > 0 > reasons["genre"][40]  # ambient was heard, not metal
    assert reasons["artist"][48] == 0  # nobody plays z


def test_no_history_and_no_model_give_zero(model: Colisten, catalogue: Catalogue) -> None:
    assert ColistenIn.of(model, catalogue).taste(Listened()) is None
    values = STATIC["colisten"](Listener(Stage.MONTH_2_PLUS), catalogue.tracks)
    assert not values.any()


def test_a_track_that_nobody_played_is_reached_by_its_artist(
    grain: Grain, model: Colisten, catalogue: Catalogue
) -> None:
    by_artist = replace(model.by_artists, weights=np.eye(len(REASONS))[0])
    joined = ColistenIn.of(replace(model, by_artists=by_artist), catalogue)
    taste = joined.taste(Listened(["a00", "a01"], np.ones(2)))
    assert taste is not None
    z = taste.z(catalogue.tracks)
    circle = catalogue.tracks.artist < 12
    assert z[circle].mean() > z[~circle].mean() + 0.2
