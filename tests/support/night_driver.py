"""Runs a night whole, and one that is killed twice in every step.

`python night_driver.py REDIS NOW HOME DATABASE HOME DATABASE`: the second one is killed in the
middle of each step, at a point of `POINTS` or else after one of the statements that it sends, drawn
by `SEED`; then at its end, before that is written down. The next process does the step again over
what was left behind. Children are forked: what takes seconds to import is imported once.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import mlflow.pyfunc  # noqa: F401 - imported before the fork
import scipy.sparse  # noqa: F401
import sqlalchemy as sa

import pipelines.environment
from features.database import connect, mlflow_uri
from features.settings import Settings
from pipelines import assets, precompute, steps  # noqa: F401
from pipelines.environment import Environment
from pipelines.nights.lock import only_one
from pipelines.nights.night import Night
from pipelines.nights.running import do_step, open_night, run_nights
from training import colisten_run, qtables, scorer  # noqa: F401
from training.registry import Registry

SEED = 11
KILLS = 2
"""Of each step."""


class Point(NamedTuple):
    """A call that ends the process: before it is done, or right after."""

    owner: Any
    function: str
    call: int = 1
    after: bool = False


POINTS = {
    # fitted, and nothing kept of it
    "train_colisten": Point(Registry, "log_run"),
    # its run and files are kept, and no version names them
    "train_scorer": Point(Registry, "_create_model", call=2),  # the first is the prior's
    # the decision is written down, and the alias is the old one
    "promote_colisten": Point(Registry, "set_alias"),
    # some listeners have their lists
    "precompute": Point(precompute._Lists, "_fill", call=15),
    # lists are cleaned away, and old probes are not
    "clean": Point(steps, "forget", after=True),
    # the page is written, and MLflow has none
    "report": Point(Registry, "log_plain_run"),
}

SENT = "sent.json"
Step = Callable[[Night], dict[str, Any]]


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


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def whole(environment: Environment, now: datetime) -> int:
    """Run a night, and write down how many statements each step sent to any database."""
    sent = dict.fromkeys(steps.STEPS, 0)
    names = list(steps.STEPS)
    at = [""]

    def begun(name: str) -> Step:
        def work(night: Night) -> dict[str, Any]:
            at[0] = name
            return step_of[name](night)

        return work

    def count(*_: object) -> None:
        if at[0]:
            sent[at[0]] += 1

    step_of = dict(steps.STEPS)
    steps.STEPS = {name: begun(name) for name in names}
    sa.event.listen(sa.Engine, "after_cursor_execute", count)
    code = run_nights(environment, [now.date()], now=lambda: now, say=lambda line: None)
    (environment.settings.home / SENT).write_text(json.dumps(sent))
    return code


def killed(environment: Environment, now: datetime, name: str, after: int | None) -> int:
    """Go on with a night, and die in this step; without Dagster, to save its second.

    Parameters
    ----------
    after
        Of so many statements; 0: at the step's point; None: at its end.
    """
    step = steps.STEPS[name]
    in_step = [False]

    def last(night: Night) -> dict[str, Any]:
        in_step[0] = True
        step(night)
        die()
        return {}

    def nth(calls: int, work: Callable[..., Any], *, done: bool) -> Callable[..., Any]:
        left = [calls]

        def dying(*given: Any, **named: Any) -> Any:
            left[0] -= in_step[0]
            if left[0] <= 0 and not done:
                die()
            found = work(*given, **named)
            if left[0] <= 0:
                die()
            return found

        return dying

    if after == 0:
        point = POINTS[name]
        work = getattr(point.owner, point.function)
        setattr(point.owner, point.function, nth(point.call, work, done=point.after))
    elif after is not None:
        sent = nth(after, lambda: None, done=True)
        sa.event.listen(sa.Engine, "after_cursor_execute", lambda *_: sent())
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
    sent = json.loads((home / SENT).read_text())
    sys.stdin.readline()  # meanwhile the caches are looked at and emptied
    home, database_url = Path(places[2]), places[3]
    rng = random.Random(SEED)  # noqa: S311 - draws moments
    for name in steps.STEPS:
        drawn = 0 if name in POINTS else rng.randint(1, max(1, sent[name]))
        for after in (drawn, None):
            place = (home, database_url, redis_url)
            ended = child(lambda n, a, p=place: killed(opened(*p), at, n, a), name, after)
            if ended != -signal.SIGKILL:
                sys.exit(f"{name} ended with {ended}")
    print(child(lambda: whole(opened(home, database_url, redis_url), at)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
