"""The schema's history: Alembic migrations, up and down, and the call that runs them."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def migrate(engine: sa.Engine, revision: str = "head") -> None:
    """Bring the schema up to `revision`, or down to ``base``, in one transaction.

    Several processes may call it at once: an advisory lock lets one of them do the work.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('bondhu.migrate'))"))
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        # MLflow keeps an alembic_version table of its own: it gets a schema of its own.
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS mlflow"))
