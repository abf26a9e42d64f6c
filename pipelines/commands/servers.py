"""`bondhu up`, `bondhu down`: PostgreSQL and Redis for as long as they are wanted."""

import typer

from features.settings import read_settings
from pipelines import servers
from pipelines.commands.output import console
from pipelines.environment import open_environment, tracking_uri


def up() -> None:
    """Start PostgreSQL and Redis and leave them running; prints their addresses."""
    settings = read_settings()
    with console.status("starting PostgreSQL and Redis"):
        endpoints = servers.up(settings.home, settings.database_url, settings.redis_url)
        with open_environment(settings):
            pass
    typer.echo(f"DATABASE_URL={endpoints.database_url}")
    typer.echo(f"REDIS_URL={endpoints.redis_url}")
    typer.echo(f"MLFLOW_TRACKING_URI={tracking_uri(settings, endpoints)}")


def down() -> None:
    """Stop what `up` left running."""
    if not servers.down(read_settings().home):
        typer.echo("other commands still use the servers: the last of them stops them", err=True)
