"""The estimator: a world in which artists and genres decide, and what must not be learned from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import sqlalchemy as sa

from features.build import build_features
from features.missing_audio import copy_from_recordings, write_estimates
from features.sources.catalogue import import_catalogue
from recommender.audio import FEATURES
from recommender.audio_estimator import AudioEstimator
from recommender.errors import ModelFormatError
from tests.training.test_promotion import FakeVersions
from training import audio_estimator
from training.audio_estimator import out_of_fold, promote_if_it_helps
from training.data.audio_examples import AudioExamples, read_examples
from training.data.catalogue import load_trainable_catalogue
from training.errors import NothingTrainableError
from training.fit.audio_fit import artist_means, fit
from training.review.promotion import history, rollback
from training.runs import AUDIO_ESTIMATOR, Version

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def world(n: int = 900, seed: int = 3) -> AudioExamples:
    """Tracks = their genre's level + their artist's + a little of their own, on every feature."""
    rng = np.random.default_rng(seed)
    artist = rng.integers(0, 150, n)
    genre = artist % 3
    level = np.array([0.3, 0.5, 0.7])[genre] + rng.normal(0, 0.1, 150)[artist]
    audio = np.clip(level[:, None] + rng.normal(0, 0.02, (n, len(FEATURES))), 0, 1)
    return AudioExamples(
        [f"t{i}" for i in range(n)],
        audio,
        artist.astype(np.int64),
        [(("a", "b", "c")[g],) for g in genre],
        {},
        {},
    )


def test_the_planted_world_is_learned() -> None:
    examples = world()
    model = fit(examples.audio, examples.artist, examples.genres)
    part, is_known = model.of_genres([("a",), ("b",), ("c",), ("d",)])
    assert part[:3, 0] == pytest.approx([0.3, 0.5, 0.7], abs=0.05)
    assert is_known.tolist() == [True, True, True, False]
    # .02 within artists against .1 between them: k = .0004 / .01.
    assert model.shrinkage == pytest.approx(0.04, abs=0.02)
    metrics = out_of_fold(examples, seed=7)
    # The error of a mean of five such tracks: |N(0, .02 sqrt(1 + 1/5))| = .0175.
    assert metrics["mae_known_artist"].mean == pytest.approx(0.0175, abs=0.002)
    assert metrics["mae"].mean < metrics["without_model_mae"].mean
    assert metrics["gain_mae"].low > 0


def test_the_interval_of_many_tracks_is_that_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    error = np.abs(rng.normal(0, 0.2, (12_000, 7)))
    error[rng.random(12_000) < 0.3] = np.nan
    found = audio_estimator._mean(error, seed=7)
    monkeypatch.setattr(audio_estimator, "MOST_RESAMPLED", 20_000)
    drawn = audio_estimator._mean(error, seed=7)
    assert found.mean == drawn.mean
    width = drawn.high - drawn.low
    assert found.low == pytest.approx(drawn.low, abs=0.05 * width)
    assert found.high == pytest.approx(drawn.high, abs=0.05 * width)


def test_equal_data_gives_equal_bytes_and_comes_back() -> None:
    examples = world()
    files = [fit(examples.audio, examples.artist, examples.genres).to_files() for _ in range(2)]
    assert files[0] == files[1]
    back = AudioEstimator.from_files(files[0])
    assert back.to_files() == files[0]
    means, counts = artist_means(examples.audio, examples.artist, examples.artist[:5])
    again = fit(examples.audio, examples.artist, examples.genres)
    assert np.array_equal(
        back.estimate(means, counts, examples.genres[:5]),
        again.estimate(means, counts, examples.genres[:5]),
    )


def test_a_damaged_model_is_refused() -> None:
    files = dict(fit(*_parts(world())).to_files())
    for name, content in (
        ("audio_estimator.json", b"{"),
        ("coefficients.npy", files["coefficients.npy"][:-8]),
        ("coefficients.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'"),
    ):
        with pytest.raises(ModelFormatError):
            AudioEstimator.from_files(files | {name: content})
    with pytest.raises(ModelFormatError):
        AudioEstimator.from_files({})


def test_missing_features_stay_out_of_the_fit() -> None:
    examples = world()
    holes = examples.audio.copy()
    holes[::2, 3] = np.nan
    model = fit(holes, examples.artist, examples.genres)
    assert np.isfinite(model.coefficients).all()
    estimates = model.estimate(np.full((1, 7), np.nan), np.array([0]), [("b",)])
    assert estimates[0] == pytest.approx(0.5, abs=0.05)


def _parts(examples: AudioExamples) -> tuple[np.ndarray, np.ndarray, list[tuple[str, ...]]]:
    return examples.audio, examples.artist, list(examples.genres)


@pytest.fixture
def catalogue(engine: sa.Engine, tmp_path: Path) -> sa.Engine:
    """60 tracks by 6 artists of two genres, one alike per artist; others without audio."""
    lines = ["track_id,track_name,artist_name,duration_ms,genre," + ",".join(FEATURES)]
    for i in range(60):
        level = 0.2 if i % 6 < 3 else 0.8
        values = [str(level)] * 3 + [str(50 + 150 * level)] + [str(level)] * 3
        lines.append(f"t{i:02},Song {i},Artist {i % 6},200000,{'pop' if i % 6 < 3 else 'rock'},"
                     + ",".join(values))  # fmt: skip
    nothing = "," * (len(FEATURES) - 1)
    lines.append(f"same,Song 0,Artist 0,201000,pop,{nothing}")
    lines.append(f"known,Another,Artist 0,,pop,{nothing}")
    lines.append(f"genre,Another,New artist,,rock,{nothing}")
    lines.append(f"nothing,Another,Another new one,,polka,{nothing}")
    path = tmp_path / "songs.csv"
    path.write_text("\n".join(lines))
    import_catalogue(engine, path, now=NOW)
    build_features(engine, now=NOW)
    return engine


def test_missing_audio_is_looked_for_in_order_of_trust(catalogue: sa.Engine) -> None:
    assert copy_from_recordings(catalogue, now=NOW) == 1
    examples = read_examples(catalogue)
    model = fit(examples.audio, examples.artist, examples.genres)
    done = write_estimates(catalogue, model, now=NOW)
    assert (done.written, done.missing) == (2, 1)
    with catalogue.connect() as connection:
        found = {
            row.track_id: row
            for row in connection.execute(
                sa.text("SELECT * FROM audio_features WHERE track_id !~ '^t[0-9]'")
            )
        }
    assert set(found) == {"same", "known", "genre"}
    assert (found["same"].source, found["same"].estimated) == ("catalogue", False)
    for track_id, level in (("known", 0.2), ("genre", 0.8)):
        row = found[track_id]
        assert (row.source, row.estimated, row.trainable) == ("audio_estimator", True, False)
        assert row.energy == pytest.approx(level, abs=0.1)
        assert row.tempo == pytest.approx(50 + 150 * level, abs=15)
    assert write_estimates(catalogue, model, now=NOW).written == 0


def test_estimates_are_never_the_truth(catalogue: sa.Engine) -> None:
    before = read_examples(catalogue)
    model = fit(before.audio, before.artist, before.genres)
    with catalogue.connect() as connection:
        means = connection.execute(sa.text("SELECT * FROM artist_audio_features")).all()
    write_estimates(catalogue, model, now=NOW)
    build_features(catalogue, now=NOW)
    after = read_examples(catalogue)
    assert after.sha256 == before.sha256
    assert after.refused["audio_features from audio_estimator"] == 3
    with catalogue.connect() as connection:
        assert connection.execute(sa.text("SELECT * FROM artist_audio_features")).all() == means
    # As in the service, a scorer is fitted with what the tracks are judged by.
    assert load_trainable_catalogue(catalogue).rows_of(["known"])[0] >= 0
    with pytest.raises(sa.exc.IntegrityError), catalogue.begin() as connection:
        connection.execute(sa.text("UPDATE audio_features SET trainable = true WHERE estimated"))


def test_real_features_take_the_place_of_estimates(catalogue: sa.Engine, tmp_path: Path) -> None:
    examples = read_examples(catalogue)
    write_estimates(catalogue, fit(*_parts(examples)), now=NOW)
    path = tmp_path / "more.csv"
    path.write_text("track_id,track_name,artist_name,energy\ngenre,Another,New artist,0.33\n")
    import_catalogue(catalogue, path, now=NOW)
    with catalogue.connect() as connection:
        row = connection.execute(
            sa.text("SELECT * FROM audio_features WHERE track_id = 'genre'")
        ).one()
    assert (row.source, row.estimated, row.trainable) == ("catalogue", False, True)
    assert row.energy == pytest.approx(0.33)


def test_nothing_to_train_on_is_said(engine: sa.Engine) -> None:
    with pytest.raises(NothingTrainableError, match="import a catalogue"):
        read_examples(engine)


def test_tracks_without_a_genre_are_fitted_too() -> None:
    examples = world()
    genres = [() if place % 5 == 0 else names for place, names in enumerate(examples.genres)]
    model = fit(examples.audio, examples.artist, genres)
    part, _ = model.of_genres([("a",)])
    assert part[0, 0] == pytest.approx(0.3, abs=0.05)
    nothing = fit(examples.audio, examples.artist, [()] * len(genres))
    assert nothing.intercept == pytest.approx(examples.audio.mean(axis=0), abs=0.01)


class Estimators(FakeVersions):
    """Versions 1 and 2 help, version 3 does not; nobody serves."""

    def __init__(self) -> None:
        super().__init__()
        numbers = (1, 2, 3)
        self.all = {n: Version(AUDIO_ESTIMATOR, n, f"run{n}", "", {}) for n in numbers}
        gains = {1: 0.02, 2: 0.03, 3: -0.01}
        names = ("gain_mae", "gain_mae_low", "gain_mae_high")
        self.runs = {f"run{n}": dict.fromkeys(names, gains[n]) for n in numbers}
        self.served = 0

    def metrics(self, run_id: str) -> dict[str, float]:
        return self.runs[run_id]


def test_a_decision_without_gates_is_in_the_history_and_can_be_rolled_back() -> None:
    versions = Estimators()
    for number in (1, 2, 3):
        at = NOW + timedelta(days=number)
        promote_if_it_helps(cast(Any, versions), versions.all[number], now=at, who="ada")
    assert versions.served == 2
    found = [(e.number, e.promoted, e.gate, e.who) for e in history(versions, AUDIO_ESTIMATOR)]
    assert found == [(1, True, None, "ada"), (2, True, None, "ada"), (3, False, "gain", "ada")]
    rollback(versions, AUDIO_ESTIMATOR)
    assert versions.served == 1


def test_a_decision_of_an_older_release_is_listed_too() -> None:
    versions = Estimators()
    kept = '{"promoted": true, "gate": null, "message": "it helps"}'
    versions.set_tag(versions.all[1], "decision.1", kept)
    (entry,) = history(versions, AUDIO_ESTIMATOR)
    assert (entry.number, entry.previous_champion, entry.message) == (1, None, "it helps")
