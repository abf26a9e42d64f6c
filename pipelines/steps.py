"""The steps of a night, one plain function each: a night goes in, what it came to comes out.

A step may be killed anywhere and run again: what it left behind is found and used, and its outcome
tells how things stand, not what this attempt did. So the second attempt ends as the first would.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from features.build import build_features
from features.nights import Outcome
from features.retention import clean as forget
from features.spreading import in_this_process
from pipelines import audio, precompute, promoting, watch
from pipelines.nights import reporting
from pipelines.nights.night import Night
from training.errors import NothingTrainableError

if TYPE_CHECKING:
    from training.runs import Version

SEED = 7
LOOK_BACK = 50
"""Versions of a model among which a night looks for its own."""
PROBE_DAYS = 90
"""How long what the prober saw is kept."""


def refresh_history(night: Night) -> Outcome:
    """Bring the histories of listeners with a stored grant up to date, within SPOTIFY_RPM."""
    from features.history_refresh import due, refresh_due  # noqa: PLC0415 - imports spotipy
    from features.sources.spotify_access import SpotifyAccess  # noqa: PLC0415 - imports spotipy

    environment = night.environment
    engine = environment.engine
    with engine.connect() as connection:
        grants = connection.scalar(
            sa.text("SELECT count(*) FROM spotify_grants WHERE state = 'active'")
        )
    if not grants:
        return {"grants": 0}
    if why_not := left_out("refresh_history", night.as_of, night.now()):
        return {"grants": grants, "skipped": why_not}
    with SpotifyAccess(environment.settings, engine, environment.redis_url) as access:
        done = refresh_due(
            engine,
            access,
            now=night.now,
            progress=lambda user: night.say(f"refresh_history: {user}"),
        )
    ways = sorted({str(one.state) for one in done.values()} - {"fresh"})
    return {
        "grants": grants,
        "still_due": len(due(engine, now=night.now())),
        "in_the_way": ways,
    }


def refresh_features(night: Night) -> Outcome:
    """Derive the feature tables, look for missing audio, and derive again what that changed."""
    engine = night.environment.engine
    if night.ahead is not None:
        night.ahead.begin()  # Postgres works, this process has time

    def say(step: str, share: float = 0.0) -> None:
        night.say(f"refresh_features: {step}")

    # Stamped with now: lists that were served since the night's moment knew what stood before.
    build_features(engine, now=night.now(), progress=say)
    for line in audio.fill_audio(night.environment, say):
        night.say(f"refresh_features: {line}")
    built = build_features(engine, now=night.now(), progress=say)
    return {
        "tracks": built.tracks,
        "artists": built.artist_total,
        "listeners": built.listeners,
        "build": built.build_id,
    }


def train_audio_estimator(night: Night) -> Outcome:
    """Fit what estimates audio features, unless the latest was fitted to the very same rows.

    The next feature build uses the champion.
    """
    from training.audio_estimator import train_audio_estimator as train  # noqa: PLC0415
    from training.data.audio_examples import read_examples  # noqa: PLC0415

    engine, examples = night.environment.engine, None
    for latest in night.registry.versions("audio_estimator")[-1:]:
        run = night.registry.run(latest.run_id)
        if run.started_at == night.as_of:
            continue
        examples = read_examples(engine)
        if run.tags.get("data_sha256") == examples.sha256:
            return {"model": "audio_estimator", "skipped": f"{latest} was fitted to the same rows"}

    def fit() -> None:
        train(
            engine,
            night.registry,
            seed=SEED,
            now=night.as_of,
            decide=False,
            examples=examples,
        )

    return _trained(night, "audio_estimator", fit)


def train_colisten(night: Night) -> Outcome:
    """Fit what listeners with such a history play as well."""
    from training.colisten_run import train_colisten as train  # noqa: PLC0415 - imports scipy

    def fit() -> None:
        train(
            night.environment.engine,
            night.registry,
            seed=SEED,
            now=night.as_of,
            until=night.as_of,
            progress=lambda line: night.say(f"train_colisten: {line}"),
        )

    return _trained(night, "colisten", fit)


def consolidate_qtables(night: Night) -> Outcome:
    """Sum what all listeners said into the table that new listeners start from."""
    from training.qtables import train_qtable as train  # noqa: PLC0415 - imports scipy

    def fit() -> None:
        with night.spreading(here=in_this_process) as spread:
            train(night.environment.engine, night.registry, now=night.as_of, spread=spread)

    return _trained(night, "qtable", fit)


def promote_colisten(night: Night) -> Outcome:
    """Decide on co-listening before weights are fitted that weigh it."""
    return promoting.promote_one(night, "colisten")


def train_scorer(night: Night) -> Outcome:
    """Fit the weights of a score, every `BONDHU_SCORER_NIGHTS` nights."""
    from training.scorer import train_scorer as train  # noqa: PLC0415 - imports scipy

    def fit() -> None:
        train(
            night.environment.engine,
            night.registry,
            seed=SEED,
            now=night.as_of,
            until=night.as_of,
            progress=lambda line: night.say(f"train_scorer: {line}"),
        )

    night.registry.ensure_prior()
    nights = night.environment.settings.bondhu_scorer_nights
    for latest in night.registry.versions("scorer")[1:][-1:]:  # the first was set by hand
        fitted_at = night.registry.run(latest.run_id).started_at
        if fitted_at and timedelta(0) < night.as_of - fitted_at < timedelta(days=nights - 0.5):
            age = "a night" if nights == 1 else f"{nights} nights"
            return {"model": "scorer", "skipped": f"{latest} is younger than {age}"}
    return _trained(night, "scorer", fit)


def evaluate(night: Night) -> Outcome:
    """Lay the night's candidates beside what they would follow."""
    return promoting.evaluate(night)


def promote(night: Night) -> Outcome:
    """Let the gates decide on each candidate; where the day's data is broken, on none."""
    return promoting.promote(night)


def clean(night: Night) -> Outcome:
    """Remove expired lists, skips that a snapshot holds, and old probes."""
    engine = night.environment.engine
    retention = night.environment.settings.bondhu_retention_days
    night.say(f"clean: {forget(engine, retention_days=retention, now=night.as_of)}")
    with engine.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM probes WHERE at < :before"),
            {"before": night.as_of - timedelta(days=PROBE_DAYS)},
        )
        lists, events = connection.execute(
            sa.text(
                "SELECT (SELECT count(*) FROM recommendations_cache),"
                " (SELECT count(*) FROM music_interactions)"
            )
        ).one()
    return {"lists_left": lists, "interactions_left": events}


STEPS: Mapping[str, Callable[[Night], Outcome]] = {
    "refresh_history": refresh_history,
    "refresh_features": refresh_features,
    "watch": watch.watch,
    "consolidate_qtables": consolidate_qtables,
    "train_audio_estimator": train_audio_estimator,
    "train_colisten": train_colisten,
    "promote_colisten": promote_colisten,
    "train_scorer": train_scorer,
    "evaluate": evaluate,
    "promote": promote,
    "precompute": precompute.precompute,
    "clean": clean,
    "report": reporting.report,
}
"""Name -> step, in the order in which they run."""

ONLY_TODAY: Mapping[str, str] = {
    "refresh_history": "Spotify tells today's history only",
    "precompute": precompute.EXPIRED,
}
"""Name -> why a night that is more than a day old leaves it out."""


def left_out(name: str, as_of: datetime, now: datetime) -> str | None:
    """Return why a night as of a moment leaves a step out, None where it does it."""
    return ONLY_TODAY.get(name) if precompute.is_past(as_of, now) else None


_TRAINED = ("consolidate_qtables", "train_audio_estimator", "train_colisten", "train_scorer")

AFTER: Mapping[str, tuple[str, ...]] = {
    "refresh_history": (),
    "refresh_features": (),
    "watch": ("refresh_features",),
    "consolidate_qtables": (),
    "train_audio_estimator": ("refresh_features",),
    "train_colisten": ("refresh_features",),
    "promote_colisten": ("train_colisten", "watch"),
    "train_scorer": ("refresh_features", "promote_colisten"),
    "evaluate": _TRAINED,
    "promote": ("evaluate", "promote_colisten", "watch"),
    "precompute": ("refresh_features",),
    "clean": (),
    "report": tuple(name for name in STEPS if name != "report"),
}
"""Name -> the steps of its night without which it cannot be done: where one fails, it is left out.

What a step finds in `READS` is there without them, if older.
"""

READS: Mapping[str, tuple[str, ...]] = {
    "refresh_history": ("spotify_grants",),
    "refresh_features": ("plays", "artist_plays", "tracks"),
    "watch": ("plays", "music_interactions"),
    "consolidate_qtables": ("music_interactions",),
    "train_audio_estimator": ("tracks",),
    "train_colisten": ("plays", "artist_plays"),
    "train_scorer": ("plays", "artist_plays", "music_interactions", "music_recommendations",
                     "colisten_champion"),
    "precompute": ("plays", "music_interactions", "champions", "colisten_champion"),
}  # fmt: skip
"""Name -> the tables and champions that it reads; what the night itself adds is in `WRITTEN_BY`."""

WRITTEN_BY: Mapping[str, tuple[str, ...]] = {
    "plays": ("refresh_history",),
    "colisten_champion": ("promote_colisten",),
    "champions": ("promote",),
}
"""Name of `READS` -> the steps that write it, for the lineage."""


def _trained(night: Night, name: str, fit: Callable[[], object]) -> Outcome:
    """Fit a model unless this night has done so already; say which version it is."""
    version = _of_this_night(night, name)
    if version is None:
        try:
            fit()
        except NothingTrainableError as error:
            return {"model": name, "skipped": str(error)}
        version = _of_this_night(night, name)
        assert version is not None  # noqa: S101 - it has just been registered
    else:
        night.registry.finish(night.registry.run(version.run_id))
    return {"model": name, "version": version.number, "run_id": version.run_id}


def _of_this_night(night: Night, name: str) -> "Version | None":
    """Return the version whose run says that it began as of this night."""
    registry = night.registry
    for version in islice(reversed(registry.versions(name)), LOOK_BACK):
        if registry.run(version.run_id).started_at == night.as_of:
            return version
    return None
