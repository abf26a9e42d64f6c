"""Runs a night that is killed at every step: `python night_driver.py HOME DATABASE REDIS NOW HOW`.

HOW is `whole`, or `killed`: then each step is done and the process killed before that is written
down, so that the next one has to do it again over what it left behind. Children are forked: what
takes seconds to import is imported once.
"""

import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow.pyfunc  # noqa: F401 - imported before the fork
import scipy.sparse  # noqa: F401

import pipelines.environment
from features.database import connect, mlflow_uri
from features.settings import Settings
from pipelines import assets, steps  # noqa: F401
from pipelines.environment import Environment
from pipelines.nights.running import run_nights
from training import colisten_run, qtables, registry, scorer  # noqa: F401


def run(home: Path, database_url: str, redis_url: str, now: datetime) -> int:
    pipelines.environment.ARTIFACTS = home / "mlruns"
    promises = dict.fromkeys(("long_plays", "entropy", "new_artists", "cache_hits"), 0.0)
    limits = {f"bondhu_watch_{name}": least for name, least in promises.items()}
    settings = Settings(bondhu_home=home, **limits)
    engine = connect(database_url)
    environment = Environment(settings, database_url, redis_url, mlflow_uri(database_url), engine)
    return run_nights(environment, [now.date()], now=lambda: now, say=lambda line: None)


def killed_after(name: str) -> None:
    step = steps.STEPS[name]

    def work(night: Any) -> Any:
        step(night)
        os.kill(os.getpid(), signal.SIGKILL)

    steps.STEPS = {**steps.STEPS, name: work}


def child(name: str | None, *where: Any) -> int:
    pid = os.fork()
    if pid == 0:
        if name is not None:
            killed_after(name)
        os._exit(run(*where))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(home: str, database_url: str, redis_url: str, now: str, how: str) -> None:
    where = (Path(home), database_url, redis_url, datetime.fromisoformat(now))
    if how == "killed":
        for name in steps.STEPS:
            ended = child(name, *where)
            if ended != -signal.SIGKILL:
                sys.exit(f"{name} ended with {ended}")
    print(child(None, *where))


if __name__ == "__main__":
    main(*sys.argv[1:])
