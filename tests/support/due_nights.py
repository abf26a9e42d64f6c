"""What is due, run as the command runs it."""

from datetime import UTC, datetime

from pipelines.environment import Environment
from pipelines.nights import due, running


def now() -> datetime:
    """Return the moment."""
    return datetime.now(UTC)


def run(environment: Environment, said: list[str]) -> int:
    """Run the nights that are due, or else today's again; return their exit code."""
    dates = due.due(environment.engine, now(), catch_up=7)
    return running.run_nights(environment, dates or [now().date()], now=now, say=said.append)
