"""`bondhu serve`, `token`, `demo`: the service, and who may call it."""

import time
from typing import Annotated

import typer

from features.settings import read_settings
from pipelines.commands.output import result_console
from pipelines.environment import check_who_may_call, open_environment, signing_secret
from pipelines.serving_process import ServiceError, serving

Port = Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")]


def serve(
    port: Port = 3000,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 1,
    host: str = "127.0.0.1",
) -> None:
    """Answer over HTTP until stopped."""
    from recommender.scoring import Scorer  # noqa: PLC0415
    from serving.model_registry import (  # noqa: PLC0415
        RegistryUnavailableError,
        load_champion,
        open_registry,
    )

    settings = read_settings()
    check_who_may_call(settings)
    settings.redis_share(workers)  # too few connections: said here, not by each worker
    with open_environment(settings) as environment:
        registry = open_registry(environment.tracking_uri)
        try:  # a worker without a model would only start to fail
            load_champion(registry, "scorer", Scorer)
        except RegistryUnavailableError as error:
            typer.echo(f"{error}: workers use their last good local copies", err=True)
        registry.close()
        with serving(
            environment.worker_environment(), host=host, port=port, workers=workers
        ) as process:
            typer.echo(f"serving at http://{host}:{port}", err=True)
            if process.wait() != 0:
                raise ServiceError("the service ended: see what it printed above")


def token(
    user: Annotated[str, typer.Option(help="The listener's id.")],
    admin: Annotated[bool, typer.Option(help="With the rights of an administrator.")] = False,
) -> None:
    """Print a development token, valid for 12 hours."""
    from serving.auth import issue_token  # noqa: PLC0415 - imports Starlette

    if not user.strip():
        raise ServiceError("a token is for a listener: give an id after --user")
    secret = signing_secret(read_settings())
    typer.echo(issue_token(secret, user, now=int(time.time()), admin=admin))


def demo(
    once: Annotated[bool, typer.Option(help="End instead of going on to serve.")] = False,
    port: Port = 3000,
) -> None:
    """Do the whole job, from import to a served list that a like moves."""
    from pipelines.demo import run_demo  # noqa: PLC0415 - imports what other commands need not

    run_demo(read_settings(), once=once, port=port, console=result_console())
