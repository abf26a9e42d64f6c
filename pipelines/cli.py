"""The command line: `bondhu --help`."""

import signal
import sys
import traceback
from typing import NoReturn

import redis
import typer
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from typer.exceptions import Abort, TyperException

from features.database import DatabaseUnavailableError
from features.imports import InputError
from features.settings import SettingsError
from features.sources.errors import SourceError
from pipelines.commands import (
    criteria,
    doctor,
    evaluate,
    experiments,
    features,
    imports,
    models,
    nightly,
    rights,
    runs,
    search,
    servers,
    service,
    simulate,
    train,
)
from pipelines.nights.errors import NightError, one_line
from pipelines.servers import ServerError
from pipelines.serving_process import ServiceError
from pipelines.workers import WorkersError
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
    runs.runs,
    experiments.reproduce,
    service.serve,
    service.token,
    service.demo,
    rights.export_user,
    rights.delete_user,
    nightly.nightly,
    nightly.status,
    criteria.criteria,
    criteria.probe,
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
    NightError,
    WorkersError,
)


NIGHTLY_FAILED = 30


def _is_nightly() -> bool:
    return sys.argv[1:2] == ["nightly"]


def _give_up(line: str) -> NoReturn:
    typer.echo(f"bondhu: {line}", err=True)
    sys.exit(NIGHTLY_FAILED if _is_nightly() else 1)


def _said(error: TyperException) -> str:
    """Return what is wrong with the words of a command, as one line, and where help is."""
    context = getattr(error, "ctx", None)
    command = "bondhu" if context is None else context.command_path
    has_commands = hasattr(getattr(context, "command", None), "commands")
    if context is not None and has_commands and len(sys.argv) == len(command.split()):
        return f"say what to do: one of the commands of '{command}' above"
    # Some messages are shown below a line of their own.
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}: '{command} --help' says what it takes"


def main() -> None:
    """Run a command; what can be expected to go wrong is said in one line, with exit code 1.

    A wrong option or value is among it. `nightly` has codes of its own: there it is 30.
    """
    # A plain kill leaves the servers to the next command; as an exception it stops them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = app(standalone_mode=False)  # or it would show a wrong word in a box of its own
        sys.exit(code if isinstance(code, int) else 0)
    except TyperException as error:
        _give_up(_said(error))
    except Abort:
        _give_up("broken off: nothing was answered")
    except EXPECTED as error:
        _give_up(str(error))
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        mend = "make room and run it again" if "No space left" in reason else "run it again"
        _give_up(f"PostgreSQL gave up ({reason}); nothing was half-written: {mend}")
    except SQLAlchemyError as error:
        if not _is_nightly():
            raise
        _give_up(f"PostgreSQL refused the night ({one_line(error)}): mend that and run it again")
    except redis.RedisError as error:
        _give_up(f"Redis cannot be used ({error}): check REDIS_URL, or unset it")
    except OSError as error:
        _give_up(f"{error.strerror or error}: {error.filename or 'the disk'}")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        if not _is_nightly():
            raise
        traceback.print_exc()  # a fault of the program: whoever mends it needs to know where
        sys.exit(NIGHTLY_FAILED)
