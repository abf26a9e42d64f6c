"""What a night begins ahead is opened once, and an error of it is raised where it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from features.settings import Settings
from features.spreading import Spread, one_at_a_time
from pipelines.environment import Environment
from pipelines.nights import ahead
from pipelines.nights.ahead import open_ahead
from pipelines.nights.night import Night
from pipelines.workers import WorkersError
from training.errors import RegistryUnavailableError

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Failing(Environment):
    """Its registry is away when it is asked for the first time."""

    asked: list[int] = field(default_factory=list)

    def registry(self) -> Any:
        self.asked.append(1)
        if len(self.asked) == 1:
            raise RegistryUnavailableError("MLflow's database went away")
        return f"the registry, asked for {len(self.asked)} times"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Failing:
    monkeypatch.setattr(ahead, "RUNS", ("json",))
    settings = Settings(bondhu_dask="3")
    return Failing(settings, "", "", "", sa.create_engine("postgresql+psycopg2://"))


def test_the_registry_that_was_away_is_asked_again(environment: Failing) -> None:
    with open_ahead(environment) as begun:
        night = Night(NOW.date(), NOW, environment, lambda: NOW, print, ahead=begun)
        begun.begin()
        begun.begin()
        begun.wait()
        assert environment.asked == [1]
        assert str(night.registry) == "the registry, asked for 2 times"
        assert night.registry is night.registry
    assert len(environment.asked) == 2


def test_workers_are_opened_once_and_ended_with_the_night(
    environment: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def spread(work: Any, items: Any) -> Iterator[Any]:
        return map(work, items)

    @contextmanager
    def opening(settings: Settings, *, here: Spread = one_at_a_time) -> Iterator[Spread]:
        if not events:
            events.append("nobody answers")
            raise WorkersError("no scheduler answers")
        events.append(f"open {settings.bondhu_dask}")
        yield spread
        events.append("ended")

    monkeypatch.setattr(ahead, "open_workers", opening)
    with open_ahead(environment) as begun:
        night = Night(NOW.date(), NOW, environment, lambda: NOW, print, ahead=begun)
        begun.begin()
        begun.wait()
        assert events == ["nobody answers"]
        for _ in range(2):
            with night.spreading(here=one_at_a_time) as found:
                assert list(found(str, [1, 2])) == ["1", "2"]
        assert events == ["nobody answers", "open 3"]
    assert events == ["nobody answers", "open 3", "ended"]


def test_without_a_setting_work_is_done_here(
    environment: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Failing(Settings(bondhu_dask=None), "", "", "", environment.engine)
    with open_ahead(plain) as begun:
        night = Night(NOW.date(), NOW, plain, lambda: NOW, print, ahead=begun)
        with night.spreading(here=one_at_a_time) as found:
            assert found is one_at_a_time
