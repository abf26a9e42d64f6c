"""The demonstration: the whole job, from nothing to a list that a like moves."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from features.build import build_features
from features.engagement import demo_event_id
from features.imports import Report
from features.settings import Settings
from pipelines.environment import Environment, open_environment, signing_secret
from pipelines.serving_process import ServiceError, check_port, serving
from serving.auth import issue_token

HOST = "127.0.0.1"
SHOWN = 10

PERSONALITY = {
    "openness": 80,
    "conscientiousness": 45,
    "extraversion": 30,
    "agreeableness": 60,
    "neuroticism": 65,
}
"""The simulated personality of the demo's listener: no data set at hand holds a real one."""

NEWCOMER = "demo-newcomer"
NEWCOMER_PERSONALITY = {
    "openness": 40,
    "conscientiousness": 50,
    "extraversion": 90,
    "agreeableness": 55,
    "neuroticism": 30,
}

Json = dict[str, Any]


def run_demo(settings: Settings, *, once: bool, port: int, console: Console) -> None:
    """Import, build features, train, promote, serve; then ask, like, skip and ask again.

    Parameters
    ----------
    once
        End after the second list instead of going on to serve.
    """
    check_port(HOST, port)
    began = time.monotonic()
    with ExitStack() as running:
        with _step(console, "PostgreSQL, Redis and the schema"):
            environment = running.enter_context(open_environment(settings))
        _fill(environment, console)
        listener = _listener(environment)
        secret = signing_secret(settings)
        # Its own words are enough: the worker's log shows from warnings on, unless told otherwise.
        quiet = {"BONDHU_LOG_LEVEL": "WARNING"}
        worker = quiet | environment.worker_environment() | {"BONDHU_JWT_SECRET": secret}
        with _step(console, "the service, with its models and catalogue"):
            process = running.enter_context(serving(worker, host=HOST, port=port, workers=1))
        address = f"http://{HOST}:{port}"
        _converse(address, secret, listener, console)
        console.print(f"\nAll of it took {time.monotonic() - began:.0f} s.")
        if once:
            return
        token = issue_token(secret, listener, now=int(time.time()))
        console.print(
            f"\nStill serving. The page with {listener}'s list: {address}/#{token}\n"
            f"Token: {token}\n"
            "Other programs ask POST /v1/recommend; /docs.json describes it. Ctrl-C ends.",
            soft_wrap=True,
        )
        if process.wait() != 0:
            raise ServiceError("the service ended: see what it printed above")


@contextmanager
def _step(console: Console, name: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(name):
        yield
    console.print(f"{time.monotonic() - began:6.1f} s  {name}", style="green")


def _fill(environment: Environment, console: Console) -> None:
    """Bring data in, and a champion into the registry."""
    engine, data = environment.engine, environment.settings.bondhu_data
    now = datetime.now(UTC)
    from features.sources.world import (  # noqa: PLC0415 - imports pandas
        build_world,
        holds_imported_tracks,
        remove_world,
    )

    if data is None:
        with engine.connect() as connection:
            has_imports = holds_imported_tracks(connection)
        if has_imports:
            console.print("The tables hold imported tracks already: nothing is simulated.")
        else:
            with _step(console, "the built-in world: simulated tracks, listeners and plays"):
                report = build_world(engine, now=now)
            _tell(report, console)
    else:
        if removed := remove_world(engine):
            console.print(f"The simulated world ({removed} tracks) made room for real data.")
        from features.sources.catalogue import import_catalogue  # noqa: PLC0415
        from features.sources.lastfm import import_lastfm  # noqa: PLC0415

        with _step(console, f"catalogue from {data}"):
            report = import_catalogue(engine, data, now=now)
        _tell(report, console)
        with _step(console, "Last.fm listeners, joined to it by artist name"):
            report = import_lastfm(engine, data, now=now)
        _tell(report, console)
        console.print(
            "Terms: others collected the catalogue from Spotify's Web API; Last.fm-2k is for"
            " non-commercial use (Cantador et al., RecSys 2011). Rows imported from files are"
            " trainable unless imported with --no-train: who imports them answers for that."
        )
    with _step(console, "feature tables: audio, artists, personality, history"):
        built = build_features(engine, now=now)
    console.print(str(built))
    _count_trainable(engine, console)
    with _step(console, "MLflow's registry"):
        registry = environment.registry()
        registry.ensure_prior()
    with _step(console, "co-listening, learned from all listening histories"):
        from training.colisten_run import train_colisten  # noqa: PLC0415
        from training.review.promotion import promote  # noqa: PLC0415 - imports MLflow

        learned = train_colisten(engine, registry, seed=7, now=now)
    decision = promote(registry, "colisten", learned.version)
    console.print(f"colisten {learned.version}: {decision.message}")
    console.print(
        f"  it finds {learned.metrics['ndcg_10']} of hidden artists (NDCG@10),"
        f" popularity {learned.metrics['popularity_ndcg_10']}"
    )
    with _step(console, "training the scorer's weights on listening histories"):
        from training.scorer import train_scorer  # noqa: PLC0415

        trained = train_scorer(engine, registry, seed=7, now=now)
    decision = promote(registry, "scorer", trained.version)
    console.print(f"scorer {trained.version}: {decision.message}")


def _tell(report: Report, console: Console) -> None:
    for note in report.notes:
        console.print(f"  {note}")
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items()))
    console.print(f"  read {report.read}, stored {report.stored}, skipped {skipped or 'none'}")


def _count_trainable(engine: sa.Engine, console: Console) -> None:
    """Say which rows training may use, by table and source."""
    table = Table("rows", "source", "trainable", "not trainable")
    with engine.connect() as connection:
        for name in ("tracks", "artist_plays", "plays", "music_interactions"):
            rows = connection.execute(
                sa.text(
                    "SELECT source, count(*) FILTER (WHERE trainable),"  # noqa: S608 - named above
                    f" count(*) FILTER (WHERE NOT trainable) FROM {name} GROUP BY 1 ORDER BY 1"
                )
            )
            for source, yes, no in rows:
                table.add_row(name, source, f"{yes:,}", f"{no:,}")
    console.print(table)


def _listener(environment: Environment) -> str:
    """Return an imported listener whose artists the catalogue knows well."""
    with environment.engine.connect() as connection:
        return str(
            connection.scalar(
                sa.text(
                    """
                    SELECT user_id FROM (
                        SELECT p.user_id, count(*) AS known FROM artist_plays p
                        WHERE EXISTS (SELECT FROM tracks t WHERE t.artist_key = p.artist_key)
                        GROUP BY p.user_id
                        UNION ALL
                        SELECT p.user_id, count(DISTINCT p.track_id) FROM plays p
                        GROUP BY p.user_id
                        HAVING min(p.played_at) < now() - interval '29 days'
                    ) listeners
                    WHERE user_id NOT LIKE 'demo-%' ORDER BY known DESC, user_id LIMIT 1
                    """
                )
            )
        )


class _Client:
    """A program that calls the service for one listener."""

    def __init__(self, address: str, secret: str, user_id: str) -> None:
        self.user_id = user_id
        token = issue_token(secret, user_id, now=int(time.time()))
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=address, headers=headers, timeout=10.0)

    def post(self, path: str, body: Json) -> Json:
        """Return the answer; anything but 200 is an error."""
        answer = self._client.post(path, json=body)
        if answer.status_code != httpx.codes.OK:
            raise ServiceError(f"{path} answered {answer.status_code}: {answer.text}")
        content: Json = answer.json()
        return content


def _converse(address: str, secret: str, listener: str, console: Console) -> None:
    """Ask for lists, give feedback, and show what it changed."""
    client = _Client(address, secret, listener)
    newcomer = _Client(address, secret, NEWCOMER)
    client.post("/v1/personality", {"scores": PERSONALITY})
    newcomer.post("/v1/personality", {"scores": NEWCOMER_PERSONALITY})
    first = client.post("/v1/recommend", {})
    console.print(_ranking(first, f"{listener}, personality simulated: {_said(PERSONALITY)}"))
    console.print(
        _ranking(
            newcomer.post("/v1/recommend", {}),
            f"A brand-new listener, personality simulated: {_said(NEWCOMER_PERSONALITY)}",
        )
    )
    tracks = first["recommendations"]
    liked = tracks[0]
    # Of another genre, so that the two do not speak to the same states.
    skipped = next((t for t in tracks if t["genre"] != liked["genre"]), tracks[1])
    for track, kind in ((liked, "like"), (skipped, "skip")):
        answer = client.post(
            "/v1/feedback",
            {
                "event_id": str(demo_event_id()),
                "track_id": track["track_id"],
                "feedback_type": kind,
                "recommendation_id": first["recommendation_id"],
                "position": track["rank"],
            },
        )
        console.print(
            f"{kind:>5}: {track['track_name']} - {track['artist_name']}: reward"
            f" {answer['reward']:+.2f}, Q now {answer['q_value']:+.3f} in state\n"
            f"       {answer['state']}"
        )
    second = client.post("/v1/recommend", {})
    before = {track["track_id"]: track for track in first["recommendations"]}
    console.print(_ranking(second, f"{listener} after the like and the skip", before=before))
    moved = sum(
        1
        for track in second["recommendations"]
        if (was := before.get(track["track_id"])) and was["rank"] != track["rank"]
    )
    console.print(
        f"{moved} tracks of the list moved ({second['metadata']['cache']});"
        " a liked track counts as heard, so its place goes to others."
    )


def _said(personality: Mapping[str, int]) -> str:
    return ", ".join(f"{trait} {score}" for trait, score in personality.items())


def _ranking(answer: Json, title: str, before: Mapping[str, Json] | None = None) -> Table:
    metadata = answer["metadata"]
    keys = [key for key, weight in metadata["weights"].items() if weight > 0]
    weights = ", ".join(f"{metadata['weights'][key]:.2f} {key}" for key in keys)
    table = Table(
        title=f"{title}\n{metadata['cold_start_stage']}: {weights} (scorer"
        f" {metadata['models']['scorer']}; {metadata['total_candidates']} candidates,"
        f" {metadata['response_time_ms']:.0f} ms, {metadata['cache']})",
        expand=True,
        caption="* drawn at random, to learn what the listener likes",
    )
    table.add_column("#", justify="right", no_wrap=True)
    if before is not None:
        table.add_column("was", justify="right", no_wrap=True)
    table.add_column("track", overflow="ellipsis", no_wrap=True, ratio=1)
    for key in ["score", *keys, "rl"]:
        table.add_column(key, justify="right", no_wrap=True)
    for track in answer["recommendations"][:SHOWN]:
        cells = [f"{track['rank']}{'*' if track['propensity'] < 1 else ''}"]
        if before is not None:
            was = before.get(track["track_id"])
            cells.append(str(was["rank"]) if was else "-")
        name = f"{track['track_name']} - {track['artist_name']}"
        cells += [name, f"{track['score']:.4f}"]
        cells += [f"{track['components'][key]:.3f}" for key in keys]
        table.add_row(*cells, f"{track['rl_adjustment']:+.4f}")
    return table
