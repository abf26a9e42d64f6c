"""Candidates: none twice, each with its source, and out of many as if all had been judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import candidates
from recommender.audio import FEATURES, cosine
from recommender.audio_index import AudioIndex
from recommender.background import Background
from recommender.candidates import Source, propose
from recommender.cold_start import Stage
from recommender.colisten import Colisten, Listened
from recommender.errors import ModelFormatError
from recommender.genres import CATEGORY_SLUGS
from recommender.grain import Grain
from recommender.listener import Listener
from recommender.taste import ColistenIn
from recommender.tracks import TIE, Catalogue, build_tracks

GENRES = ("ambient", "metal", "salsa")


def catalogue_of(n: int) -> Catalogue:
    rng = np.random.default_rng(n)
    genres = [(GENRES[at],) if at < 3 else () for at in rng.integers(0, 4, n).tolist()]
    artist = np.sort(rng.integers(0, max(1, n // 8), n))
    keys, artist = np.unique(artist, return_inverse=True)
    return Catalogue(
        ids=np.array([b"%06d" % at for at in range(n)], dtype=np.bytes_),
        tracks=build_tracks(
            audio=rng.uniform(0.01, 1, (n, len(FEATURES))).astype(np.float32),
            artist=artist,
            popularity=rng.uniform(0, 1, n),
            category=[CATEGORY_SLUGS[at % 4] for at in range(n)],
            genres=genres,
            released=rng.integers(10_000, 20_000, n),
        ),
        artist_keys=np.array([b"artist%05d" % key for key in keys], dtype=np.bytes_),
        genres=genres,
    )


def listener_of(catalogue: Catalogue, heard: np.ndarray) -> Listener:
    model = Colisten(Grain.empty(), Grain.empty(), Background.of(catalogue.tracks))
    artists = np.unique(catalogue.tracks.artist[heard])
    keys = [catalogue.artist_keys[a].decode() for a in artists.tolist()]
    listened = Listened(
        keys, np.ones(len(keys)), [catalogue.id_of(r) for r in heard], catalogue.tracks.audio[heard]
    )
    return Listener(
        Stage.MONTH_2_PLUS,
        traits={"openness": 0.9, "extraversion": 0.8},
        history_audio=catalogue.tracks.audio[heard],
        history_weight=np.linspace(1, 3, len(heard)),
        heard=heard,
        heard_artists=artists,
        categories={0: 0.7, 2: 0.3},
        taste=ColistenIn.of(model, catalogue).taste(listened),
    )


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_of(6_000)


@pytest.fixture(scope="module")
def listener(catalogue: Catalogue) -> Listener:
    return listener_of(catalogue, np.arange(0, 300, 30))


@pytest.mark.parametrize("is_large", [False, True])
def test_none_twice_none_heard_and_every_source_speaks(
    catalogue: Catalogue, listener: Listener, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr(candidates, "EXACT", 0)
    index = AudioIndex.of(catalogue.tracks, lists=64)
    rows, sources = propose(catalogue, listener, size=500, index=index)
    assert len(rows) == len(sources) == 500
    assert (rows[1:] > rows[:-1]).all()
    assert not np.isin(rows, listener.heard).any()
    assert set(sources) == set(candidates.SHARES[Stage.MONTH_2_PLUS])
    share = sources.count(Source.COLISTEN) / 500
    assert share == pytest.approx(0.4, abs=0.01)


def test_the_index_names_whom_judging_all_would(
    catalogue: Catalogue, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking into every list, the index is exact: the same rows from the same sources."""
    untasted = replace(listener, taste=None)
    index = AudioIndex.of(catalogue.tracks, lists=16)
    exact, exact_sources = propose(catalogue, untasted, size=300)
    monkeypatch.setattr(candidates, "EXACT", 0)
    monkeypatch.setattr(candidates, "FIT_PROBES", 16)
    found, sources = propose(catalogue, untasted, size=300, index=index)
    assert found.tolist() == exact.tolist()
    assert sources == exact_sources


def test_recall_of_the_nearest(catalogue: Catalogue, listener: Listener) -> None:
    index = AudioIndex.of(catalogue.tracks, lists=64)
    near = cosine(catalogue.tracks.audio, listener.history_audio)
    near *= (listener.history_weight / listener.history_weight.max()).astype(np.float32)
    worth = near.max(axis=1)
    wanted = set(np.argsort(-worth)[:100].tolist())
    rows, judged = index.nearest(listener.history_audio, listener.history_weight, probes=32)
    found = set(rows[np.argsort(-judged)[:100]].tolist())
    assert len(wanted & found) >= 95
    np.testing.assert_allclose(judged, worth[rows], atol=1e-5)


def test_an_index_is_mapped_from_its_files(catalogue: Catalogue, tmp_path: Path) -> None:
    index = AudioIndex.of(catalogue.tracks, lists=32)
    index.save(tmp_path)
    opened = AudioIndex.open(tmp_path)
    assert isinstance(opened.audio, np.memmap)
    np.testing.assert_array_equal(opened.rows, index.rows)
    (tmp_path / "rows.npy").write_bytes(b"nothing")
    with pytest.raises(ModelFormatError, match="index"):
        AudioIndex.open(tmp_path)


def test_a_source_with_nothing_to_say_leaves_its_share_to_others(catalogue: Catalogue) -> None:
    silent = Listener(Stage.MONTH_2_PLUS)
    rows, sources = propose(catalogue, silent, size=200)
    assert len(rows) == 200
    assert Source.COLISTEN not in sources


@pytest.mark.parametrize("n", [0, 1, 7])
def test_only_an_empty_catalogue_has_no_candidates(n: int) -> None:
    catalogue = catalogue_of(n)
    rows, sources = propose(catalogue, Listener(Stage.WEEK_1), size=200)
    assert rows.tolist() == list(range(n))
    assert len(sources) == n


def test_within_holds(catalogue: Catalogue, listener: Listener) -> None:
    within = np.flatnonzero(catalogue.tracks.category == 1)
    rows, _ = propose(catalogue, listener, size=200, within=within)
    assert len(rows) == 200
    assert np.isin(rows, within).all()


def test_what_spotify_recommends_has_a_tenth_at_most(catalogue: Catalogue) -> None:
    heard = np.arange(5)
    listener = listener_of(catalogue, heard)
    asked = np.array([3, *range(40, 90), 41])  # one was heard, one is said twice
    rows, sources = propose(catalogue, listener, size=100, spotify=asked)
    theirs = [row for row, s in zip(rows.tolist(), sources, strict=True) if s is Source.SPOTIFY]
    assert theirs == list(range(40, 50))  # the best first
    assert len(rows) == 100
    without = propose(catalogue, listener, size=100)
    assert propose(catalogue, listener, size=100, spotify=asked[:0])[1] == without[1]


@given(st.integers(0, 10_000), st.integers(9, 60), st.sampled_from([0.0, 1.0, 4.0]), st.booleans())
def test_lighter_plays_are_left_out_only_where_they_bring_nothing_near(
    catalogue: Catalogue, seed: int, heard: int, steepness: float, twins: bool
) -> None:
    """What audio proposes equals the choice among all tracks, judged by all plays."""
    rng = np.random.default_rng(seed)
    audio = rng.uniform(0.01, 1, (heard, len(FEATURES))).astype(np.float32)
    weight = rng.uniform(0.01, 1, heard) ** steepness
    if twins:  # many tracks sound the same: equals stand at the edge
        some = np.round(catalogue.tracks.audio, 1) + np.float32(0.01)
        tracks = replace(catalogue.tracks, audio=some, popularity=np.zeros(len(catalogue)))
        catalogue = replace(catalogue, tracks=tracks)
    listener = Listener(Stage.MONTH_2_PLUS, history_audio=audio, history_weight=weight)
    open_ = rng.random(len(catalogue)) < 0.9
    count = int(rng.integers(1, 200))

    unit, own = (rows / np.linalg.norm(rows, axis=1)[:, None] for rows in _float(catalogue, audio))
    near = ((unit @ own.T) * (weight / weight.max())).max(axis=1) + TIE * catalogue.tracks.fame
    reach = candidates._Exact(catalogue, listener, catalogue.canonical, open_)
    rows, worth = reach.worth(Source.AUDIO, 500, count)
    np.testing.assert_allclose(worth, near[rows], atol=3e-6)  # float32 against float64
    is_found = open_[rows]
    if len(rows) < len(catalogue):
        assert is_found.all()
        assert len(rows) == count
    assert np.sort(near[rows[is_found]])[-count:] == pytest.approx(
        np.sort(near[open_])[-count:], abs=3e-6
    )


def _float(catalogue: Catalogue, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return catalogue.tracks.audio.astype(np.float64), audio.astype(np.float64)


def test_the_heaviest_plays_alone_give_the_very_rows_that_all_plays_give(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    few = 0
    for _ in range(40):
        listener = Listener(
            Stage.MONTH_2_PLUS,
            history_audio=rng.uniform(0.01, 1, (30, len(FEATURES))).astype(np.float32),
            history_weight=rng.pareto(1.0, 30) + 0.1,
        )
        chosen = propose(catalogue, listener, size=300)
        open_ = np.ones(len(catalogue), dtype=np.bool_)
        reach = candidates._Exact(catalogue, listener, catalogue.canonical, open_)
        few += len(reach.worth(Source.AUDIO, 300, 60)[0]) == 60
        with monkeypatch.context() as all_of_them:
            all_of_them.setattr(candidates, "_HEAVIEST", 30)
            expected = propose(catalogue, listener, size=300)
        assert chosen[0].tolist() == expected[0].tolist()
        assert chosen[1] == expected[1]
    assert few > 10  # plays were left out at all
