"""A fortnight of nights in which the world changes, against models that stay as they were.

Simulated listeners: what is shown here is that the nights work, not what people would say.
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from nights_world import NightsWorld

from features import nights
from features.catalogue import load_catalogue
from features.nights import StepRow
from pipelines.environment import Environment
from pipelines.nights.running import run_nights
from serving.cache import Cache
from serving.lineup import Lineup
from serving.list_building import RankingSettings
from serving.model_copies import ModelCopies
from serving.model_registry import open_registry
from serving.recommend import Recommender
from serving.samples import ComponentSamples
from serving.schemas import RecommendRequest
from serving.shadow import Shadows
from serving.versions import Versions

START = datetime(2026, 5, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHTS = 14
CHANGE, BROKEN = 6, 9
"""The day on which tastes change, and the one whose plays all say 0 ms."""
MEASURED = range(11, 14)
SHOWN = 10
LISTENERS = 120


class Service:
    """Lists by the service's own code, in this process."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.now = START
        self._ids = random.Random(5)  # noqa: S311 - a list's id seeds its draws
        self.cache = Cache(environment.redis_url, connections=4)
        ranking = RankingSettings.of(environment.settings)
        engine = environment.engine
        self._recommender = Recommender(
            engine,
            self.cache,
            ranking,
            Shadows(engine, ranking, now=lambda: self.now),
            ComponentSamples(engine, share=0.0),
            now=lambda: self.now,
            new_id=lambda: uuid.UUID(int=self._ids.getrandbits(128)),
        )

    def lineup(self) -> Lineup:
        home = self.environment.settings.home
        registry = open_registry(self.environment.tracking_uri)
        versions = Versions(
            registry, ModelCopies(home / "models"), indices=home / "i", share=0, shadow_share=0
        )
        lineup = versions.open(load_catalogue(self.environment.engine))
        registry.close()
        return lineup

    def show(self, user: str, lineup: Lineup) -> tuple[uuid.UUID, Sequence[str]]:
        request = RecommendRequest(force_refresh=True)
        packed, _ = self._recommender.recommend(user, request, lineup.champion)
        return packed.recommendation_id, packed.track_ids[:SHOWN]


@pytest.fixture
def environment(environment: Environment) -> Environment:
    weekly = environment.settings.model_copy(update={"bondhu_scorer_nights": 7})
    return replace(environment, settings=weekly)


def test_better_models_are_promoted_and_a_broken_feed_is_not_learned_from(
    environment: Environment,
) -> None:
    world = NightsWorld(
        environment.engine, listeners=LISTENERS, artists=24, tracks_each=8, circles=3, start=START
    )
    world.plant(plays=16)
    service = Service(environment)
    frozen: Lineup | None = None
    liked: dict[str, list[float]] = {"retrained": [], "frozen": []}
    codes: dict[int, int] = {}
    for day in range(NIGHTS):
        began = START + day * DAY
        if day == CHANGE:
            world.change()
        world.live(began, ms_played=0 if day == BROKEN else 180_000)
        if day in MEASURED:
            assert frozen is not None
            service.now = began
            lineups = {"retrained": service.lineup(), "frozen": frozen}
            for number, user in enumerate(world.users):
                # Circle by circle, half of the listeners stay with the first night's models.
                arm = "retrained" if number // world.circles % 2 else "frozen"
                list_id, tracks = service.show(user, lineups[arm])
                verdict = world.judge(number, tracks)
                world.say(
                    number, tracks, verdict.tolist(), began + DAY / 2, recommendation_id=list_id
                )
                liked[arm].append(float(verdict.mean()))
        ended = began + DAY
        codes[day] = run_nights(
            environment, [ended.date()], now=lambda: datetime.now(UTC), say=lambda line: None
        )
        if day == 0:
            frozen = service.lineup()
    service.cache.close()
    outcomes = {
        day: nights.steps(environment.engine, (START + (day + 1) * DAY).date())
        for day in range(NIGHTS)
    }
    promotions = {day: found["promote"].outcome for day, found in outcomes.items()}

    assert 30 not in codes.values()
    after = range(CHANGE, NIGHTS)
    assert any(promotions[day]["colisten"]["promoted"] for day in after)
    broken = promotions[BROKEN]
    assert codes[BROKEN] == 20
    assert {one["gate"] for one in broken.values() if "version" in one} == {"data"}
    (reason,) = outcomes[BROKEN]["watch"].outcome["broken"]
    assert reason.startswith("plays: 100% of 480 say that 0 ms were heard")
    low, mean, high = gain(liked)
    assert low > 0, f"{mean:+.3f} [{low:+.3f}, {high:+.3f}] over {np.mean(liked['frozen']):.3f}"
    check_report(environment, outcomes)


def check_report(environment: Environment, outcomes: dict[int, dict[str, StepRow]]) -> None:
    """Look on the last night's page for what the fortnight came to."""
    dates = {day: (START + (day + 1) * DAY).date() for day in outcomes}
    known = nights.nights(environment.engine, until=dates[NIGHTS - 1], most=NIGHTS)
    told = {row.night: row.outcome for row in known}
    page = unescape(Path(str(known[0].report_path)).read_text(encoding="utf-8"))
    last = outcomes[NIGHTS - 1]
    # What came in, and each night's point in its picture.
    for feed, label in (("plays", "Plays"), ("feedback", "Feedback")):
        row = f'<td>{feed}<td class="num">{last["watch"].outcome["feeds"][feed]["rows"]:,}'
        assert row in page
        picture = page[page.index(f"{label} that came in") :].partition("</figure>")[0]
        for day, found in outcomes.items():
            rows = found["watch"].outcome["feeds"][feed]["rows"]
            assert f"<title>{dates[day]}: {rows}</title>" in picture
    shares = page[page.index("Share of plays over 30 s") :].partition("</figure>")[0]
    for day in MEASURED:  # the days on which somebody said something of a list
        share = outcomes[day]["watch"].outcome["engagement"]["long_plays"]["value"]
        assert f"<title>{dates[day]}: {share:.1%}</title>" in shares
    # What became of each model, and of the nights before.
    for name, one in last["promote"].outcome.items():
        (row,) = [row for row in page.split("<tr>") if row.startswith(f"<td>{name}<td>")]
        became = "promoted" if one["promoted"] else f"declined: {one['gate']}"
        assert (became if one["promoted"] or one["gate"] else "nothing to decide") in row
        assert one["message"] in row
    _, _, before = page.partition("Nights before")
    promoted = [line for night in list(dates.values())[:-1] for line in told[night]["promoted"]]
    assert promoted
    for line in promoted + told[dates[BROKEN]]["alarms"]:
        assert f"{line}<br>" in before


def gain(liked: dict[str, list[float]]) -> tuple[float, float, float]:
    """Return by how much more retrained lists are liked, with its 95% interval over listeners."""
    means = {
        arm: np.array(shares).reshape(len(MEASURED), -1).mean(axis=0)
        for arm, shares in liked.items()
    }
    retrained, frozen = means["retrained"], means["frozen"]
    mean = float(retrained.mean() - frozen.mean())
    error = np.sqrt(sum(one.var(ddof=1) / len(one) for one in means.values()))
    return mean - 1.96 * error, mean, mean + 1.96 * error
