from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

import training.data.dataset as dataset_module
from features.listeners import load_profile
from recommender import candidates
from recommender.audio_index import AudioIndex
from recommender.cold_start import Stage
from recommender.tracks import UNKNOWN_DATE, Catalogue, build_tracks
from serving import track_index
from training.data import choices
from training.data.catalogue import load_trainable_catalogue
from training.data.choices import PER_ARTIST, choices_of
from training.data.dataset import Dataset, Holdout, hold_out, read_dataset, visible
from training.data.drawing import Sample, draw_listeners
from training.data.histories import ArtistCount, History, Play, read_histories
from training.data.holdout import held_out_count
from training.data.listening import listening_of, read_listening
from training.data.profiles import profile_of, read_facts
from training.errors import NothingTrainableError

if TYPE_CHECKING:
    from tests.training.conftest import World

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SOUND = np.full(7, 0.5)


def artist(number: int) -> str:
    return f"artist{number:03}"


TEN = frozenset(artist(n) for n in range(10))


def artists_seen(holdout: Holdout, stage: Stage) -> set[str]:
    plays, counts = visible(holdout, stage)
    return {p.artist_key for p in plays} | {c.artist_key for c in counts}


@pytest.fixture
def planted(engine: sa.Engine, world: "World") -> Dataset:
    world.plant(listeners=30)
    return read_dataset(engine, seed=7)


def test_a_fifth_of_the_artists_is_hidden(planted: Dataset) -> None:
    for holdout in [*planted.fit, *planted.test]:
        assert len(holdout.hidden) == held_out_count(len(holdout.known)) == 4


@pytest.mark.parametrize("stage", Stage)
def test_what_is_to_be_found_never_leaks(planted: Dataset, stage: Stage) -> None:
    holdouts = [*planted.fit, *planted.test]
    for holdout, example in zip(holdouts, planted.examples(holdouts, stage, now=NOW), strict=True):
        assert not np.isin(example.relevant, example.listener.heard_artists).any()
        assert not holdout.hidden & artists_seen(holdout, stage)
        hidden = planted.catalogue.artists_of(sorted(holdout.hidden))
        assert np.isin(hidden, example.relevant).all()
        assert len(example.relevant) > 0


def test_stages_see_nothing_a_fifth_and_all_but_the_hidden(planted: Dataset) -> None:
    sizes = [
        [
            len(example.listener.history_weight)
            for example in planted.examples(planted.fit, stage, now=NOW)
        ]
        for stage in Stage
    ]
    assert [set(column) for column in sizes] == [{0}, {3}, {16}]


def test_counts_begin_with_what_is_played_most() -> None:
    counts = [ArtistCount(artist(n), 100 - n) for n in range(10)]
    holdout = hold_out(History("ada", [], counts, {}), TEN, seed=7)
    assert holdout is not None
    seen = [count.artist_key for count in visible(holdout, Stage.WEEK_2_4)[1]]
    shown = sorted(TEN - holdout.hidden)
    assert seen == shown[:2]


def test_dated_plays_hide_what_was_discovered_last(engine: sa.Engine, world: "World") -> None:
    world.add_listener("ada")
    for number in range(10):
        world.add_artist(number, SOUND, 50)
        world.play("ada", number, day=number)
    world.play("ada", 0, day=20)  # after the first hidden artist was discovered
    (history,) = read_histories(engine).listeners
    holdout = hold_out(history, TEN, seed=7)
    assert holdout is not None
    assert holdout.hidden == {artist(8), artist(9)}
    plays, _ = visible(holdout, Stage.MONTH_2_PLUS)
    assert [p.artist_key for p in plays] == [artist(n) for n in range(8)]
    assert artists_seen(holdout, Stage.WEEK_2_4) == {artist(0), artist(1)}
    assert artists_seen(holdout, Stage.WEEK_1) == set()


def test_an_artist_hidden_by_date_is_hidden_in_the_counts_too() -> None:
    plays = [Play(f"t{n}", artist(n), NOW.replace(day=1 + n)) for n in range(5)]
    counts = [ArtistCount(artist(4), 99), ArtistCount(artist(7), 1)]
    holdout = hold_out(History("ada", plays, counts, {}), TEN, seed=7)
    assert holdout is not None
    assert holdout.hidden == {artist(4)}
    assert artists_seen(holdout, Stage.MONTH_2_PLUS) == {artist(n) for n in (0, 1, 2, 3, 7)}


def test_four_artists_are_too_few() -> None:
    counts = [ArtistCount(artist(n), 5) for n in range(4)] + [ArtistCount("unknown", 5)]
    assert hold_out(History("ada", [], counts, {}), TEN, seed=7) is None


def test_a_holdout_depends_on_the_seed_and_the_listener_only(
    engine: sa.Engine, world: "World"
) -> None:
    world.plant(listeners=12)
    before = {h.history.user_id: h.hidden for d in [read_dataset(engine, seed=7)] for h in d.fit}
    world.add_listener("a newcomer")
    for number in range(10):
        world.count_plays("a newcomer", number, 3)
    after = {h.history.user_id: h.hidden for d in [read_dataset(engine, seed=7)] for h in d.fit}
    other = {h.history.user_id: h.hidden for d in [read_dataset(engine, seed=8)] for h in d.fit}
    assert before.items() <= after.items()
    assert any(other[user] != before[user] for user in other.keys() & before.keys())


def test_untrainable_rows_are_left_out_and_counted(engine: sa.Engine, world: "World") -> None:
    for user in ("ada", "bob"):
        world.add_listener(user)
    for number in range(3):
        world.add_artist(number, SOUND, 50)
        world.count_plays("ada", number, 5)
        world.count_plays("bob", number, 5, source="withheld", trainable=False)
    world.play("ada", 0, day=1, trainable=False)
    histories = read_histories(engine)
    assert histories.refused == {"artist_plays from withheld": 3, "plays from planted": 1}
    assert [history.user_id for history in histories.listeners] == ["ada"]
    assert histories.rows == 3


def test_nothing_trainable_is_refused_with_counts_and_sources(
    engine: sa.Engine, world: "World"
) -> None:
    world.add_listener("ada")
    world.add_artist(0, SOUND, 50)
    world.count_plays("ada", 0, 5, source="withheld", trainable=False)
    with pytest.raises(NothingTrainableError, match=r"1 artist_plays from withheld") as refusal:
        read_dataset(engine, seed=7)
    assert "\n" not in str(refusal.value)


def test_an_empty_database_says_what_to_do(engine: sa.Engine) -> None:
    with pytest.raises(NothingTrainableError, match="import some first"):
        read_dataset(engine, seed=7)


def test_a_time_without_plays_is_not_called_an_empty_database(engine: sa.Engine) -> None:
    with pytest.raises(NothingTrainableError, match="no plays in that time"):
        read_dataset(engine, seed=7, until=datetime(2020, 1, 1, tzinfo=UTC))


def test_too_few_listeners_are_refused(engine: sa.Engine, world: "World") -> None:
    world.add_listener("ada")
    world.add_artist(0, SOUND, 50)
    world.count_plays("ada", 0, 5)
    with pytest.raises(NothingTrainableError, match="too few listeners"):
        read_dataset(engine, seed=7)


def test_the_hash_is_of_the_rows_however_they_came_in(engine: sa.Engine, world: "World") -> None:
    world.add_listener("ada")
    for number in (2, 0, 1):
        world.count_plays("ada", number, 5)
    one = read_histories(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM artist_plays"))
    for number in (0, 1, 2):
        world.count_plays("ada", number, 5)
    assert read_histories(engine).sha256 == one.sha256
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE artist_plays SET play_count = 6"))
    assert read_histories(engine).sha256 != one.sha256


def test_the_window_is_that_of_dated_plays(engine: sa.Engine, world: "World") -> None:
    world.add_listener("ada")
    world.add_artist(0, SOUND, 50)
    world.count_plays("ada", 0, 5)
    assert read_histories(engine).window == ("undated", "undated")
    world.play("ada", 0, day=0)
    world.play("ada", 0, day=31)
    assert read_histories(engine).window == ("2026-01-01", "2026-02-01")


def test_untrainable_tracks_are_not_in_the_catalogue(engine: sa.Engine, world: "World") -> None:
    world.add_artist(0, SOUND, 50, trainable=False, source="spotify")
    world.add_artist(1, SOUND, 50)
    world.add_artist(2, SOUND, 50)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE audio_features SET trainable = false WHERE track_id = 'artist002-0'")
        )
    catalogue = load_trainable_catalogue(engine)
    assert [i.decode() for i in catalogue.ids] == ["artist001-0", "artist001-1", "artist002-1"]
    assert catalogue.tracks.row.tolist() == [0, 1, 2]
    assert catalogue.artists_of([artist(0), artist(1), artist(2)]).tolist() == [-1, 0, 1]
    assert catalogue.tracks.artist.tolist() == [0, 0, 1]


def test_training_and_serving_read_the_same_profile(engine: sa.Engine, world: "World") -> None:
    rng = np.random.default_rng(3)
    world.add_listener("ada")
    for number in range(70):
        world.add_artist(number, rng.uniform(0.1, 1, size=7), 50)
        world.count_plays("ada", number, int(rng.integers(1, 30)))
        if number % 2:
            world.play("ada", number, day=number)
            world.play("ada", number, day=int(rng.integers(100, 200)))
    (history,) = read_histories(engine).listeners
    with engine.connect() as connection:
        served = load_profile(connection, "ada", now=NOW)
    assert served is not None
    trained = profile_of(
        history,
        history.plays,
        history.counts,
        stage=served.stage,
        facts=read_facts(engine),
        as_of=NOW,
    )
    assert trained.history == served.history
    assert sorted(trained.heard_tracks) == sorted(served.heard_tracks)
    assert sorted(trained.heard_artists) == sorted(served.heard_artists)
    assert trained.traits == served.traits


def test_a_fit_adds_what_is_best_known_of_each_relevant_artist(
    engine: sa.Engine, world: "World"
) -> None:
    world.plant(listeners=30)
    dataset = read_dataset(engine, seed=7)
    examples = list(dataset.examples(dataset.fit, Stage.MONTH_2_PLUS, now=NOW))
    proposed = list(choices_of(dataset.catalogue, examples, size=20))
    added = list(choices_of(dataset.catalogue, examples, size=20, add_relevant=True))
    for before, after, example in zip(proposed, added, examples, strict=True):
        assert set(before.tracks.row) <= set(after.tracks.row)
        assert set(after.tracks.artist[after.is_relevant]) == set(example.relevant)
        new = ~np.isin(after.tracks.row, before.tracks.row)
        assert after.is_relevant[new].all()
        assert (np.diff(after.tracks.row) > 0).all()


def test_two_tracks_of_an_artist_are_best_known() -> None:
    popularity = np.array([0.1, 0.9, 0.5, 0.9, np.nan])
    tracks = build_tracks(
        audio=np.full((5, 7), 0.5, dtype=np.float32),
        artist=np.array([0, 0, 0, 0, 1]),
        popularity=popularity,
        category=[None] * 5,
        genres=[()] * 5,
        released=np.full(5, UNKNOWN_DATE),
    )
    ids = np.array([b"a", b"b", b"c", b"d", b"e"])
    catalogue = Catalogue(ids, tracks, np.array([b"x", b"y"]), [()] * 5)
    assert catalogue.rows_by(np.array([0, 1]), most=PER_ARTIST).tolist() == [1, 3, 4]


def test_a_sample_is_drawn_by_hash_and_does_not_depend_on_the_order_of_ids() -> None:
    def drawn(numbers: Iterable[int], most: int = 100) -> list[str]:
        sample = Sample(most, seed=7, purpose="sample")
        for number in numbers:
            sample.offer(f"user{number:03}")
        return sample.ids()

    ids = drawn(range(300))
    assert len(ids) == 100
    assert ids == sorted(ids) == drawn(reversed(range(300)))
    assert ids != [f"user{n:03}" for n in range(100)]
    # Whoever is drawn of fewer listeners is not lost by who else joins, but for a lower line.
    assert set(ids) & {f"user{n:03}" for n in range(200)} <= set(drawn(range(200)))
    assert drawn(range(300), most=300) == [f"user{n:03}" for n in range(300)]


def test_who_is_drawn_has_five_artists_of_the_catalogue(engine: sa.Engine, world: "World") -> None:
    """Postgres counts as `hold_out` does: plays and counts together, what may be used alone."""
    world.plant(listeners=30)
    world.add_artist(90, SOUND, 50, trainable=False)
    for user, artists in {"four": range(4), "barred": [0, 1, 2, 3, 90], "unknown": [*range(4), 95],
                          "five": range(5)}.items():  # fmt: skip
        world.add_listener(user)
        for number in artists:
            world.count_plays(user, number, 3)
    world.add_listener("withheld")
    for number in range(5):
        world.count_plays("withheld", number, 3, trainable=number > 0)
    world.add_listener("both")
    for number in range(3):
        world.count_plays("both", number, 3)
        world.play("both", number + 2, day=number)
    drawn = draw_listeners(engine, seed=7)
    assert drawn.listeners == len(drawn.listening) == 36
    judged = {*drawn.fit, *drawn.test}
    assert judged & {"four", "barred", "unknown", "five", "withheld", "both"} == {"five", "both"}
    dataset = read_dataset(engine, seed=7)
    assert [h.history.user_id for h in dataset.fit] == list(drawn.fit)
    assert [h.history.user_id for h in dataset.test] == list(drawn.test)
    assert not set(drawn.fit) & set(drawn.test)
    before = draw_listeners(engine, seed=7, until=datetime(2020, 1, 1, tzinfo=UTC))
    assert before.listeners == 0


def test_postgres_adds_up_what_histories_tell(engine: sa.Engine, world: "World") -> None:
    rng = np.random.default_rng(2)
    for number in range(12):
        world.add_artist(number, SOUND, 50)
    for user in ("ada", "bob", "cleo"):
        world.add_listener(user)
        for day in range(20):
            world.play(user, int(rng.integers(12)), day=day)
        world.count_plays(user, 3, 5)
        world.count_plays(user, 3, 2, source="other")
        world.count_plays(user, 4, 9, trainable=False, source="withheld")
    world.play("ada", 11, day=50, trainable=False)
    listened = read_listening(engine, ["ada", "cleo"])
    histories = read_histories(engine, users=["ada", "cleo"])
    told = [listening_of(history) for history in histories.listeners]
    assert [one.artists for one in listened.listenings] == [one.artists for one in told]
    assert [set(one.tracks) for one in listened.listenings] == [set(one.tracks) for one in told]
    assert listened.parts["plays"].rows == sum(len(one.tracks) for one in told)
    assert read_listening(engine, ["ada", "cleo"]).parts == listened.parts
    assert read_listening(engine, ["ada"]).parts != listened.parts
    none = read_listening(engine, ["ada"], until=datetime(2020, 1, 1, tzinfo=UTC))
    assert not none.listenings


def test_a_large_catalogue_is_searched_as_the_service_does(
    engine: sa.Engine, world: "World", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 120 tracks, which count as too many to judge: in 15 lists, of which 14 are looked into."""
    world.plant(listeners=30)
    plain = read_dataset(engine, seed=7)
    assert plain.index is None
    for module in (candidates, dataset_module, track_index):
        monkeypatch.setattr(module, "EXACT", 100)
    dataset = read_dataset(engine, seed=7)
    assert dataset.index is not None
    searched: list[int] = []
    search = AudioIndex.search

    def counted(self: AudioIndex, *arguments: Any, **more: Any) -> Any:
        searched.append(len(self.rows))
        return search(self, *arguments, **more)

    monkeypatch.setattr(AudioIndex, "search", counted)
    served = track_index.index_of(dataset.catalogue, "1-a", tmp_path)
    for stage in Stage:
        examples = list(dataset.examples(dataset.fit, stage, now=NOW))
        ours = choices_of(dataset.catalogue, examples, size=20, index=dataset.index)
        for example, one in zip(examples, ours, strict=True):
            rows, _ = candidates.propose(dataset.catalogue, example.listener, size=20, index=served)
            assert one.tracks.row.tolist() == rows.tolist()
    assert set(searched) == {120}


def test_rows_to_fit_are_the_same_for_any_number_of_processes(
    planted: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "BLOCK", 5)
    here, forked = (
        choices.rows_to_fit(planted, planted.fit, now=NOW, colisten_for=None, processes=n)
        for n in (1, 2)
    )
    for stage in Stage:
        whole = choices.rows_of(
            choices_of(
                planted.catalogue,
                planted.examples(planted.fit, stage, now=NOW),
                add_relevant=True,
            )
        )
        assert len(np.unique(whole.listener)) > 5
        for found in (here[stage], forked[stage]):
            for name in ("features", "target", "exposure", "list", "listener"):
                np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
