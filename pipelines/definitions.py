"""What Dagster loads: the night's assets, two jobs, and when they start.

`dagster-daemon run -m pipelines.definitions` starts them on time; DAGSTER_HOME names the folder
where it keeps what ran. `dagster definitions validate -m pipelines.definitions` checks them.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from dagster import (
    DefaultScheduleStatus,
    Definitions,
    Failure,
    Field,
    InitResourceContext,
    OpExecutionContext,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    String,
    in_process_executor,
    job,
    op,
    resource,
    schedule,
)

from features import nights
from features.settings import read_settings
from pipelines.assets import ASSETS, SOURCES
from pipelines.environment import Environment, open_environment
from pipelines.nights import due, webhook
from pipelines.nights.alarms import unfinished
from pipelines.nights.errors import NightError
from pipelines.nights.lock import only_one
from pipelines.nights.night import Night
from pipelines.nights.running import FAILED, close_night, is_done, open_night, run_nights
from pipelines.steps import STEPS

NIGHT = "YYYY-MM-DD; empty: today's"
NIGHT_CRON = f"0 {due.HOUR} * * *"
HISTORY_CRON = "30 */6 * * *"
"""Every 6 hours, half an hour off the night's start."""


def _now() -> datetime:
    return datetime.now(UTC)


def _date_of(config: Mapping[str, str]) -> date:
    return due.day(config["date"]) if config["date"] else _now().date()


@resource({"date": Field(String, default_value="", description=NIGHT)})
def night(context: InitResourceContext) -> Iterator[Night]:
    """Lend the night of a date to assets that are materialised by hand; the lock is held.

    Raises
    ------
    NightError
        The date is none or in the future, or its night is done: no step of it would be done again.
    """
    wanted = _date_of(context.resource_config)
    due.check(wanted, wanted, _now())

    def say(line: str) -> None:
        if context.log is not None:
            context.log.info(line)

    with open_environment(read_settings()) as environment, only_one(environment.engine) as lock:
        if nights.is_done(environment.engine, wanted):
            raise NightError(f"the night of {wanted} is done, and no step of it is done again")
        with open_night(environment, wanted, now=_now, say=say, lock=lock) as one:
            yield one
        one.check_lock()
        failure = "; ".join(unfinished(one)) or None
        # Of a part of the steps the night is not done: it stays due.
        if failure is not None or is_done(one):
            close_night(one, failure)


@op(config_schema={"date": Field(String, default_value="", description=NIGHT)})
def due_nights(context: OpExecutionContext) -> None:
    """Run the nights that are due up to one; their assets are written into this instance."""
    settings = read_settings()
    last = _date_of(context.op_config)
    dates: list[date] = []
    with (
        webhook.calling_where_it_cannot_run(settings, dates, context.log.info),
        open_environment(settings) as environment,
    ):
        waiting = due.due(environment.engine, _now(), catch_up=settings.bondhu_catch_up_nights)
        dates += [one for one in waiting if one <= last]
        code = run_nights(
            environment, dates, now=_now, say=context.log.info, instance=context.instance
        )
    if code == FAILED:
        raise Failure(f"a night failed: {', '.join(map(str, dates))}; see 'bondhu status'")
    # Told as metadata: an output would be pickled into Dagster's storage.
    context.add_output_metadata({"exit_code": code})


@op
def granted_histories(context: OpExecutionContext) -> None:
    """Bring the histories of listeners with a stored grant up to date, within SPOTIFY_RPM."""
    with open_environment(read_settings()) as environment:
        outcome = STEPS["refresh_history"](_no_night(environment, context))
    context.add_output_metadata(outcome)


def _no_night(environment: Environment, context: OpExecutionContext) -> Night:
    """Return what a step needs outside of any night: it writes nothing about one."""
    now = _now()
    return Night(now.date(), now - timedelta(seconds=1), environment, _now, context.log.info)


@job(executor_def=in_process_executor)
def nightly() -> None:
    """Run the nights that are due."""
    due_nights()


@job(executor_def=in_process_executor)
def histories() -> None:
    """Refresh histories from Spotify, between nights."""
    granted_histories()


@schedule(
    job=nightly,
    cron_schedule=NIGHT_CRON,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
)
def nightly_schedule(context: ScheduleEvaluationContext) -> RunRequest:
    """Ask for the night of a tick's date, after those that were missed; once, however often asked.

    The date is the tick's, not the clock's: a daemon that comes late asks for the same night.
    """
    night_date = context.scheduled_execution_time.astimezone(UTC).date().isoformat()
    return RunRequest(
        run_key=night_date,
        run_config={"ops": {"due_nights": {"config": {"date": night_date}}}},
        tags={"night": night_date},
    )


SCHEDULES = [
    nightly_schedule,
    ScheduleDefinition(
        job=histories,
        cron_schedule=HISTORY_CRON,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
    ),
]

defs = Definitions(
    assets=[*ASSETS, *SOURCES],
    jobs=[nightly, histories],
    schedules=SCHEDULES,
    resources={"night": night},
    executor=in_process_executor,
)
