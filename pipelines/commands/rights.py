"""`bondhu export-user`, `delete-user`: what an operator does for a listener who asks."""

import json
from datetime import UTC, datetime

import msgspec
import typer

from features.redis_server import ask_whether_cluster
from features.settings import read_settings
from pipelines.environment import Environment, open_environment
from serving.cache import Cache
from serving.erasure import erase, export
from serving.journal import Journal


def export_user(user: str) -> None:
    """Print everything that is stored about a listener, as JSON."""
    with open_environment(read_settings()) as environment:
        cache, journal = _stores(environment)
        content = export(environment.engine, cache, journal, user, now=datetime.now(UTC))
        cache.close()
    typer.echo(json.dumps(json.loads(content), indent=1, ensure_ascii=False))


def delete_user(user: str) -> None:
    """Delete everything about a listener, and print the receipt as JSON."""
    with open_environment(read_settings()) as environment:
        cache, journal = _stores(environment)
        receipt = erase(
            environment.engine,
            cache,
            journal,
            user,
            now=datetime.now(UTC),
            requested_by="operator",
        )
        cache.close()
    typer.echo(msgspec.json.format(msgspec.json.encode(receipt), indent=1).decode())


def _stores(environment: Environment) -> tuple[Cache, Journal]:
    cluster = bool(ask_whether_cluster(environment.redis_url))
    cache = Cache(environment.redis_url, connections=2, cluster=cluster)
    return cache, Journal(environment.settings.home / "journal")
