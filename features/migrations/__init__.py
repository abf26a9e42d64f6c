"""The schema's history: Alembic migrations, up and down, and the call that runs them."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from features.database import DatabaseUnavailableError

LOCK_SECONDS = 2
"""Who waits for a table makes all who come later wait behind it: so it gives up, to try again."""
ATTEMPTS = 5
LOCK_NOT_AVAILABLE = "55P03"


def migrate(
    engine: sa.Engine,
    revision: str = "head",
    *,
    lock_seconds: float = LOCK_SECONDS,
    attempts: int = ATTEMPTS,
) -> None:
    """Bring the schema up to `revision`, or down to ``base``, in one transaction.

    Several processes may call it at once: an advisory lock lets one of them do the work. A schema
    of a later release is left as it is: by the rule of expand and contract, this one runs on it.

    Parameters
    ----------
    lock_seconds
        How long one attempt waits for a table that others use. Their callers wait behind it.
    attempts
        How often that is tried, 1 s, 2 s, 4 s ... apart.

    Raises
    ------
    DatabaseUnavailableError
        A table stayed in use by others; the schema is as it was.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_in_use),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(max=8),
        reraise=True,
    )
    try:
        retrying(_migrate, engine, revision, lock_seconds)
    except OperationalError as error:
        if not _is_in_use(error):
            raise
        raise DatabaseUnavailableError(
            "the schema could not be brought up to date and is as it was: other sessions held a"
            f" table through {attempts} attempts of {lock_seconds:g} s: end them (pg_stat_activity"
            " lists them; a dump or a build, most likely), or run this again when they are done"
        ) from None


def check_schema(engine: sa.Engine) -> None:
    """Fail unless the schema is this release's or a later one's; change nothing.

    Raises
    ------
    DatabaseUnavailableError
        It is an earlier one's, or there is none yet.
    """
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    if found != scripts.get_current_head() and not _is_later(found, scripts):
        what = "there are no tables yet" if found is None else "the tables are an earlier release's"
        raise DatabaseUnavailableError(
            f"{what}, and what only looks changes none: run 'bondhu nightly', 'bondhu up' or any"
            " other command to bring them up to date"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _migrate(engine: sa.Engine, revision: str, lock_seconds: float) -> None:
    config = _config()
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('bondhu.migrate'))"))
        # Only from here on: another's migration is waited for as long as it takes.
        connection.execute(
            sa.text("SELECT set_config('lock_timeout', :ms, true)"),
            {"ms": str(round(lock_seconds * 1000))},
        )
        config.attributes["connection"] = connection
        found = MigrationContext.configure(connection).get_current_revision()
        if revision == "base":
            command.downgrade(config, revision)
        elif not _is_later(found, ScriptDirectory.from_config(config)):
            command.upgrade(config, revision)
        # MLflow keeps an alembic_version table of its own: it gets a schema of its own.
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS mlflow"))


def _is_later(found: str | None, scripts: ScriptDirectory) -> bool:
    """Return whether a revision is a later release's: this one runs on what it left."""
    return found is not None and found not in {one.revision for one in scripts.walk_revisions()}


def _is_in_use(error: BaseException) -> bool:
    return isinstance(error, OperationalError) and (
        getattr(error.orig, "pgcode", None) == LOCK_NOT_AVAILABLE
    )
