"""Where a command's words go, progress to stderr and results to stdout, and who runs it."""

import getpass
import sys

import typer
from rich.console import Console

from features.imports import Report

console = Console(stderr=True)
"""Progress; results go to stdout."""

WIDTH = 118
"""Of tables where there is no terminal to fit them to."""


def login_name() -> str:
    """Return the login name of whoever runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "unnamed"


def result_console() -> Console:
    """Return a console on stdout, wide enough for tables also in a pipe."""
    return Console(
        width=None if sys.stdout.isatty() else WIDTH,
        markup=False,
        highlight=False,
    )


def show(report: Report) -> None:
    """Print what became of every row that an import read."""
    for note in report.notes:
        typer.echo(note)
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items()))
    typer.echo(f"read {report.read}, stored {report.stored}, skipped {skipped or 'none'}")
