"""A run comes out again byte for byte, and where it does not, the reason is said."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import numpy as np
import pytest
import sqlalchemy as sa

from features.database import mlflow_uri
from serving.model_registry import load_champion, open_registry
from tests.training.test_qtables import drawn, write
from training import audio_estimator_flavour, colisten_flavour, qtable_flavour, scorer_flavour
from training.audio_estimator import train_audio_estimator
from training.colisten_run import fit_to, parts_of, train_colisten
from training.data.catalogue import load_trainable_catalogue
from training.data.data_parts import DATA_FILE
from training.data.drawing import draw_listeners
from training.data.listening import read_listening
from training.errors import RegistryError, TrainingError
from training.model_kind import ModelKind
from training.qtables import train_qtable
from training.review.promotion import promote
from training.review.rebuilding import Rebuilt
from training.review.reproduction import reproduce
from training.runs import MODEL_SHA256_TAG, MODEL_TAG, REPRODUCED_TAG, StoredRun
from training.scorer import train_scorer

if TYPE_CHECKING:
    from tests.training.conftest import World
    from training.registry import Registry

NOW = datetime(2026, 11, 1, 12, 30, 15, 123456, tzinfo=UTC)
KINDS: Mapping[str, ModelKind[Any]] = {
    one.KIND.name: one.KIND
    for one in (scorer_flavour, colisten_flavour, qtable_flavour, audio_estimator_flavour)
}


FIGURES = {
    "scorer": ("weights", "calibration", "reliability_by_stage"),
    "colisten": ("learning_curve",),
    "qtable": ("qtable", "learning_curve"),
    "audio_estimator": ("learning_curve",),
}


@pytest.fixture
def trained(engine: sa.Engine, world: "World", registry: "Registry") -> dict[str, str]:
    """A run of each model, the scorer with co-listening to weigh; model -> run id."""
    rng = np.random.default_rng(4)
    for number in range(60):
        world.add_artist(number, rng.uniform(0.1, 0.9, 7), int(rng.integers(1, 99)))
    for user in range(40):
        world.add_listener(f"user{user:03}")
        circle = np.arange(30) + 30 * (user % 2)
        for number in rng.choice(circle, 12, replace=False).tolist():
            world.count_plays(f"user{user:03}", number, int(rng.integers(1, 50)))
    for day in range(10):
        world.play("user001", 30 + day, day)
    write(engine, drawn(n=300))
    registry.ensure_prior()
    colisten = train_colisten(engine, registry, seed=3, now=NOW)
    registry.set_alias("colisten", "champion", colisten.version)
    runs = {
        "colisten": colisten.run_id,
        "scorer": train_scorer(engine, registry, seed=3, now=NOW).run_id,
        "qtable": train_qtable(engine, registry, now=NOW).run_id,
        "audio_estimator": train_audio_estimator(engine, registry, seed=3, now=NOW).run_id,
    }
    assert {registry.run(run_id).tags[MODEL_TAG] for run_id in runs.values()} == set(KINDS)
    return runs


def test_runs_tell_what_they_are_come_out_again_and_name_what_changed(
    trained: dict[str, str], engine: sa.Engine, world: "World", registry: "Registry", tmp_path: Path
) -> None:
    """One test, for the sake of one training of each."""
    for name, run_id in trained.items():
        check_run(registry, run_id)
        for figure in FIGURES[name]:
            assert registry.artifact(run_id, f"figures/{figure}.png").startswith(b"\x89PNG")
        check_loading(registry, engine, name, run_id, tmp_path)
    check_nobody_is_named(registry, trained, engine, tmp_path)

    check_planted_chance(engine, registry)
    before = {name: len(registry.versions(name)) for name in KINDS}
    for run_id in trained.values():
        done = reproduce(engine, registry, run_id)
        assert done.equal, done.message
        assert done.message.startswith("equal: ")
        assert registry.run(run_id).tags[MODEL_SHA256_TAG] in done.message
    elsewhere = reproduce(engine, registry, trained["qtable"], code="0" * 40)
    assert elsewhere.equal
    assert {registry.run(run_id).tags[REPRODUCED_TAG] for run_id in trained.values()} == {"yes"}
    assert f"and is {'0' * 40}" in elsewhere.message

    # What comes in later is no part of it: a verdict, a play, a count.
    write(engine, [("later", "genre_a", 1.0, NOW + timedelta(hours=1))])
    world.play("user001", 5, 20_000)
    world.count_plays("user001", 59, 7, source="later")
    for run_id in trained.values():
        done = reproduce(engine, registry, run_id)
        assert done.equal, done.message

    # What changes within it is named.
    world.play("user001", 6, 3)
    expect(engine, registry, trained["colisten"], "plays: 11 rows where there were 10 (1 came in)")
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM users WHERE user_id = 'user002'"))
        connection.execute(sa.text("DELETE FROM users WHERE user_id = 'u7'"))
        connection.execute(sa.text("UPDATE audio_features SET energy = .5 WHERE energy > .6"))
    expect(engine, registry, trained["scorer"], "artist_plays: 468 rows where there were 480")
    expect(engine, registry, trained["qtable"], "are gone)", "music_interactions from api")
    expect(engine, registry, trained["audio_estimator"], "120 rows as before, but not the same")
    assert {name: len(registry.versions(name)) for name in KINDS} == before


def expect(engine: sa.Engine, registry: "Registry", run_id: str, *words: str) -> None:
    done = reproduce(engine, registry, run_id)
    assert not done.equal
    assert "\n" not in done.message
    for word in ("not equal: the data of run", *words):
        assert word in done.message


def check_run(registry: "Registry", run_id: str) -> None:
    run = registry.run(run_id)
    (version,) = [v for name in KINDS for v in registry.versions(name) if v.run_id == run_id]
    for tags in (run.tags, version.tags):
        assert tags.keys() >= {"code_version", "data_sha256", "seed", "seconds"}
    assert version.tags["manifest_sha256"] == run.tags[MODEL_SHA256_TAG]
    assert run.data is not None
    assert run.data[1] == run.tags["data_sha256"]
    assert any(name.endswith("_low") for name in run.metrics)
    requirements = registry.artifact(run_id, "model/requirements.txt").decode().split()
    assert {line.split("==")[0] for line in requirements} >= {"numpy", "scipy", "scikit-learn"}
    assert all("==" in line for line in requirements)
    assert json.loads(registry.artifact(run_id, "model/input_example.json"))
    assert "signature" in registry.artifact(run_id, "model/MLmodel").decode()


def check_loading(
    registry: "Registry", engine: sa.Engine, name: str, run_id: str, tmp_path: Path
) -> None:
    """MLflow, the registry and the service read the very same model, down to its bytes."""
    kind = KINDS[name]
    (version,) = [v for v in registry.versions(name) if v.run_id == run_id]
    registry.set_alias(name, "champion", version.number)
    loaded = registry.load(kind, version.number)
    address = engine.url.render_as_string(hide_password=False)
    served = open_registry(mlflow_uri(address))
    try:
        serving = load_champion(served, name, kind.model)
    finally:
        served.close()
    wrapped = mlflow.pyfunc.load_model(str(registry.folder(version).parent))
    (wrapper,) = vars(wrapped._model_impl).values()
    assert type(wrapper) is type(serving.model) is type(loaded)
    files = loaded.to_files()
    assert files == serving.model.to_files() == wrapper.to_files()
    assert all(path.endswith((".json", ".npy")) for path in files)
    assert files == {path: registry.artifact(run_id, f"model/artifacts/{path}") for path in files}
    example = kind.example(loaded)
    assert wrapped.predict(example).equals(kind.predictor(loaded).predict(example))


def check_nobody_is_named(
    registry: "Registry", trained: Mapping[str, str], engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.connect() as connection:
        users = [user.encode() for user in connection.scalars(sa.text("SELECT user_id FROM users"))]
    known = [user for user in users if len(user) > 3]  # `u7` may stand anywhere by chance
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    texts = [path.read_bytes() for path in files]
    for run_id in trained.values():
        run = registry.run(run_id)
        texts.append(repr((run.params, run.tags, run.name, sorted(run.metrics))).encode())
    texts += [repr(v.tags).encode() for name in KINDS for v in registry.versions(name)]
    assert len(known) == 40
    assert not [user for user in known for text in texts if user in text]


def check_planted_chance(engine: sa.Engine, registry: "Registry") -> None:
    """A fit that draws without a seed is found out, and not promoted."""

    def unseeded(engine: sa.Engine, run: StoredRun) -> Rebuilt:
        listened = read_listening(engine, draw_listeners(engine, seed=3).listening)
        catalogue = load_trainable_catalogue(engine)
        chance = int(np.random.default_rng().integers(2**31))
        return Rebuilt(
            parts_of(listened, catalogue),
            lambda: fit_to(listened, catalogue, seed=chance).to_files(),
        )

    again = train_colisten(engine, registry, seed=3, now=NOW)
    run_id = again.run_id
    done = reproduce(engine, registry, run_id, rebuilds={"colisten": unseeded})
    assert not done.equal
    assert "from the same data, parameters and seed" in done.message
    assert registry.run(run_id).tags[REPRODUCED_TAG] == "no"
    assert promote(registry, "colisten", again.version).gate == "reproducible"


def test_what_cannot_be_repeated_is_said(engine: sa.Engine, registry: "Registry") -> None:
    prior = registry.ensure_prior()
    with pytest.raises(TrainingError, match=f"keeps no file {DATA_FILE}"):
        reproduce(engine, registry, prior.run_id)
    with pytest.raises(RegistryError, match="there is no run"):
        reproduce(engine, registry, "0" * 32)
