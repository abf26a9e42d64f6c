"""The steps as Dagster's assets: it knows what comes from what, and draws the lineage.

A night runs in this process; no server, no daemon, and nothing of Dagster's is left on disk.
"""

import os
from contextlib import ExitStack
from typing import Any

os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")  # before it is imported

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DagsterInstance,
    MetadataValue,
    ResourceDefinition,
    asset,
    materialize,
)

from pipelines.nights.alarms import unfinished
from pipelines.nights.interrupts import ending_signals
from pipelines.nights.night import Night
from pipelines.nights.running import do_step
from pipelines.steps import AFTER, READS, STEPS, WRITTEN_BY

GROUP = "night"
PRIORITY = "dagster/priority"


def _asset_of(name: str) -> AssetsDefinition:
    @asset(
        name=name,
        deps=[AssetKey(one) for one in (*AFTER[name], *READS.get(name, ()))],
        required_resource_keys={"night"},
        group_name=GROUP,
        description=STEPS[name].__doc__,
        # Of those that could be next, the first: the order of STEPS, whatever depends on what.
        op_tags={PRIORITY: str(-list(STEPS).index(name))},
    )
    def _step(context: AssetExecutionContext) -> None:
        outcome = do_step(context.resources.night, name)
        context.add_output_metadata({key: _shown(value) for key, value in outcome.items()})

    return _step


def _shown(value: object) -> Any:
    return MetadataValue.json(value) if isinstance(value, dict | list) else value


QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""What fails is told by the night itself."""

ASSETS = [_asset_of(name) for name in STEPS]
"""In the order in which they run."""

SOURCES = [
    AssetSpec(name, deps=[AssetKey(one) for one in WRITTEN_BY.get(name, ())])
    for name in dict.fromkeys(one for read in READS.values() for one in read)
]
"""Tables and champions: they are there whatever a night comes to, so no step waits for another's
success by way of them. For the lineage; a night runs without them."""


def materialize_night(night: Night, instance: DagsterInstance | None = None) -> str | None:
    """Run the steps of a night; return why it came to no end, None where it did.

    Parameters
    ----------
    instance
        Where Dagster keeps what ran; None: nowhere.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        What the process's own handlers of SIGINT and SIGTERM raise, where one came.
    """
    with ExitStack() as stack:
        stack.enter_context(ending_signals())
        kept = instance or stack.enter_context(DagsterInstance.ephemeral())
        result = materialize(
            ASSETS,
            instance=kept,
            resources={"night": ResourceDefinition.hardcoded_resource(night)},
            run_config=QUIET,
            raise_on_error=False,
        )
    if result.success:
        return None
    return "; ".join(unfinished(night)) or "it broke off"
