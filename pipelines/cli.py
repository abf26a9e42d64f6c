"""The command line: `bondhu --help`."""

import signal
import sys

import redis
import typer
from sqlalchemy.exc import OperationalError

from features.database import DatabaseUnavailableError
from features.imports import InputError
from features.settings import SettingsError
from features.sources.errors import SourceError
from pipelines.commands import (
    doctor,
    evaluate,
    experiments,
    features,
    imports,
    models,
    rights,
    search,
    servers,
    service,
    simulate,
    train,
)
from pipelines.servers import ServerError
from pipelines.serving_process import ServiceError
from recommender.errors import RecommenderError
from training.errors import TrainingError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Bondhu: a personality-aware music recommender.",
)
app.add_typer(imports.app, name="import")
app.add_typer(features.app, name="features")
app.add_typer(train.app, name="train")
app.add_typer(search.app, name="search")
for command in (
    servers.up,
    servers.down,
    evaluate.evaluate,
    models.promote,
    models.rollback,
    models.promotions,
    models.compare,
    experiments.reproduce,
    service.serve,
    service.token,
    service.demo,
    rights.export_user,
    rights.delete_user,
    doctor.doctor,
    simulate.simulate,
):
    app.command()(command)

EXPECTED = (
    SettingsError,
    ServerError,
    ServiceError,
    DatabaseUnavailableError,
    InputError,
    SourceError,
    RecommenderError,
    TrainingError,
)


def main() -> None:
    """Run a command; what can be expected to go wrong is said in one line, with exit code 1."""
    # A plain kill leaves the servers to the next command; as an exception it stops them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except EXPECTED as error:
        sys.exit(f"bondhu: {error}")
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        mend = "make room and run it again" if "No space left" in reason else "run it again"
        sys.exit(f"bondhu: PostgreSQL gave up ({reason}); nothing was half-written: {mend}")
    except redis.RedisError as error:
        sys.exit(f"bondhu: Redis cannot be used ({error}): check REDIS_URL, or unset it")
    except OSError as error:
        sys.exit(f"bondhu: {error.strerror or error}: {error.filename or 'the disk'}")
    except KeyboardInterrupt:
        sys.exit(130)
