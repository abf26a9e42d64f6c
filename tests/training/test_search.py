"""A search: killed with -9 it goes on, and nobody who tests a model is asked."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from recommender.cold_start import Stage
from training import search
from training.data.choices import ChoiceRows, Choices, choices_of, rows_of, rows_to_fit
from training.data.dataset import Dataset, Example, Holdout
from training.data.holdout import is_test
from training.errors import TrainingError
from training.fit.fitting import Evidence, FitSettings
from training.search import SEARCH_TAG, VALUE, SearchData, is_validation, search_scorer
from training.simulation.shown_lists import plant_impressions
from training.trial_store import SCHEMA, open_study

if TYPE_CHECKING:
    from tests.training.conftest import World
    from training.registry import Registry

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SCRIPT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from features.database import connect, mlflow_uri
from training.registry import Registry
from training.search import search_scorer
url, artifacts = sys.argv[1:]
search_scorer(
    connect(url), Registry(mlflow_uri(url), Path(artifacts)), trials=500, seed=7,
    now=datetime(2026, 11, 1, tzinfo=UTC), progress=lambda line: print(line, flush=True),
)
"""


@pytest.fixture
def empty_store(engine: sa.Engine) -> Iterator[sa.Engine]:
    forget(engine)
    yield engine
    forget(engine)


def forget(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))


def settings_of(registry: "Registry", parent: str) -> list[dict[str, str]]:
    runs = sorted(registry.children(parent), key=lambda run: int(run.tags["trial"]))
    return [dict(run.params) for run in runs]


def test_a_search_that_was_killed_goes_on_to_the_same_trials(
    empty_store: sa.Engine, world: "World", registry: "Registry", tmp_path: Path
) -> None:
    world.plant(follows="popularity", listeners=40)
    url = empty_store.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(tmp_path / "artifacts")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 4 of"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    with empty_store.connect() as connection:
        kept = connection.scalar(
            sa.text(f"SELECT count(*) FROM {SCHEMA}.trials WHERE state = 'COMPLETE'")
        )
        # Bondhu's own schema knows nothing of it.
        assert connection.scalar(sa.text("SELECT version_num FROM public.alembic_version"))
        assert not connection.scalar(sa.text("SELECT to_regclass('public.trials')"))
    assert 3 <= kept < 6
    resumed = search_scorer(empty_store, registry, trials=10, seed=7, now=NOW)
    assert resumed.trials == 10
    made = settings_of(registry, resumed.run_id)
    assert len(made) == 10
    defaults = FitSettings()
    assert float(made[0]["shrinkage"]) == defaults.shrinkage
    assert float(made[0]["ridge"]) == defaults.ridge
    assert len({run["shrinkage"] for run in made}) == 10
    (parent,) = registry.runs({SEARCH_TAG: resumed.name})
    assert parent.run_id == resumed.run_id
    assert parent.data is not None
    values = [run.metrics[VALUE] for run in registry.children(parent.run_id)]
    assert max(values) == resumed.best_value >= resumed.default_value

    again = search_scorer(empty_store, registry, trials=10, seed=7, now=NOW)
    assert again == resumed  # nothing was left to do

    forget(empty_store)
    whole = search_scorer(empty_store, registry, trials=10, seed=7, now=NOW)
    assert (whole.best, whole.best_value) == (resumed.best, resumed.best_value)


def test_two_processes_are_not_at_one_search(empty_store: sa.Engine) -> None:
    with (
        open_study(empty_store, "one"),
        pytest.raises(TrainingError, match="running already"),
        open_study(empty_store, "one"),
    ):
        pass
    with open_study(empty_store, "one"):  # the first has ended
        pass


def test_who_tests_a_model_is_never_asked(
    engine: sa.Engine, world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plant(follows="popularity", listeners=40)
    fits: set[str] = set()
    validates: set[str] = set()

    def to_fit(dataset: Dataset, holdouts: Sequence[Holdout], **more: Any) -> Any:
        fits.update(holdout.history.user_id for holdout in holdouts)
        return rows_to_fit(dataset, holdouts, **more)

    def to_validate(catalogue: Any, examples: Iterable[Example], **more: Any) -> Iterator[Choices]:
        given = list(examples)
        validates.update(example.user_id for example in given)
        return choices_of(catalogue, given, **more)

    monkeypatch.setattr(search, "rows_to_fit", to_fit)
    monkeypatch.setattr(search, "choices_of", to_validate)
    data = search.read_search_data(
        engine,
        seed=7,
        now=NOW,
        evidence_from=Evidence.AUTO,
        since=None,
        until=None,
        has_colisten=False,
        say=lambda _: None,
    )
    assert fits
    assert validates
    assert not fits & validates
    assert not any(is_test(user, 7) for user in fits | validates)
    assert all(is_validation(user, 7) for user in validates)
    assert len(data.judged(data.fitted(FitSettings()).scorer)) == len(validates)


def test_trials_on_impressions_are_judged_by_other_listeners() -> None:
    log = plant_impressions({"popularity": 1.0}, {"history": 1.0}, eta=0.5, seed=1)
    nothing: dict[Stage, ChoiceRows] = {stage: rows_of([]) for stage in Stage}
    data = SearchData(nothing, {}, log, 7, "planted", log.window)
    judges = {user for user in log.users if data.validates(user)}
    assert not any(data.fits(user) or is_test(user, 7) for user in judges)
    good = data.judged(data.fitted(FitSettings(shrinkage=1.0)).scorer)
    held_back = data.judged(data.fitted(FitSettings(shrinkage=1e6)).scorer)
    assert len(good) <= len(judges)
    assert good.mean() > held_back.mean() + 0.1
    # What testers like changes nothing.
    of_testers = log.of(lambda user: is_test(user, 7))
    other = replace(data, impressions=replace(log, reward=log.reward * ~of_testers))
    assert other.fitted(FitSettings()).scorer == data.fitted(FitSettings()).scorer
