"""Runs a night whole, and one that is killed at every step.

`python night_driver.py REDIS NOW HOME DATABASE HOME DATABASE`: the second one does each step and is
killed before that is written down, so that the next process does it again over what it left behind.
Children are forked: what takes seconds to import is imported once.
"""

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import mlflow.pyfunc  # noqa: F401 - imported before the fork
import scipy.sparse  # noqa: F401

import pipelines.environment
from features.database import connect, mlflow_uri
from features.settings import Settings
from pipelines import assets, steps  # noqa: F401
from pipelines.environment import Environment
from pipelines.nights.lock import only_one
from pipelines.nights.night import Night
from pipelines.nights.running import do_step, open_night, run_nights
from training import colisten_run, qtables, registry, scorer  # noqa: F401


def opened(home: Path, database_url: str, redis_url: str) -> Environment:
    pipelines.environment.ARTIFACTS = home / "mlruns"
    settings = Settings(
        bondhu_home=home,
        bondhu_watch_long_plays=0.0,
        bondhu_watch_entropy=0.0,
        bondhu_watch_new_artists=0.0,
        bondhu_watch_cache_hits=0.0,
    )
    engine = connect(database_url)
    return Environment(settings, database_url, redis_url, mlflow_uri(database_url), engine)


def whole(environment: Environment, now: datetime) -> int:
    return run_nights(environment, [now.date()], now=lambda: now, say=lambda line: None)


def killed(environment: Environment, now: datetime, name: str) -> int:
    """Go on with a night, and die when this step is done; without Dagster, to save its second."""
    step = steps.STEPS[name]

    def last(night: Night) -> dict[str, object]:
        step(night)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    steps.STEPS = {**steps.STEPS, name: last}
    with (
        only_one(environment.engine) as lock,
        open_night(
            environment, now.date(), now=lambda: now, say=lambda line: None, lock=lock
        ) as night,
    ):
        for each in steps.STEPS:
            do_step(night, each)
    return 0


def child(work: Callable[..., int], *given: object) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(work(*given))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(redis_url: str, now: str, *places: str) -> None:
    at = datetime.fromisoformat(now)
    home, database_url = Path(places[0]), places[1]
    print(child(lambda: whole(opened(home, database_url, redis_url), at)), flush=True)
    sys.stdin.readline()  # meanwhile the caches are looked at and emptied
    home, database_url = Path(places[2]), places[3]
    for name in steps.STEPS:
        ended = child(lambda step: killed(opened(home, database_url, redis_url), at, step), name)
        if ended != -signal.SIGKILL:
            sys.exit(f"{name} ended with {ended}")
    print(child(lambda: whole(opened(home, database_url, redis_url), at)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
