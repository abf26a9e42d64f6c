"""Where the parts of a night are done: in this process, in others beside it, or on a cluster.

BONDHU_DASK decides: nothing, a number of processes, or the address of a Dask scheduler. Dask is
imported only where it is asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from features.settings import Settings
from features.spreading import R, Spread, T, one_at_a_time

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10


MEMORY = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 * 1024 * 1024,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 1024 * 1024,
}
"""Dask gives every freed 64 KB back to the system; the arrays of a list are larger, come and go
hundreds of times, and the kernel would spend as long on their pages as we on their numbers."""


class WorkersError(Exception):
    """Parts cannot be done where the setting says; the message says why and what to do."""


def are_elsewhere(settings: Settings) -> bool:
    """Return whether BONDHU_DASK is the address of a scheduler."""
    return bool(settings.bondhu_dask) and not str(settings.bondhu_dask).isdigit()


@contextmanager
def open_workers(settings: Settings, *, here: Spread = one_at_a_time) -> Iterator[Spread]:
    """Lend what does work in parts, as BONDHU_DASK says.

    Parameters
    ----------
    here
        What does it where the setting is empty.

    Raises
    ------
    WorkersError
        No scheduler answers at the address.
    """
    asked = settings.bondhu_dask
    if not asked:
        yield here
        return
    with _local(int(asked), settings) if asked.isdigit() else _remote(asked) as client:
        yield lambda work, items: on_dask(client, work, items)


def on_dask(client: "Client", work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Do work for each item on Dask's workers; yield results in the order of the items.

    What a worker had in hand when it died is done again on another one, three times at most.

    Raises
    ------
    WorkersError
        An item's workers died four times, or the scheduler went away.
    """
    from distributed import KilledWorker, wait  # noqa: PLC0415 - only where asked for
    from distributed.client import FutureCancelledError  # noqa: PLC0415

    # pure=False: equal work in two nights is not the same work.
    futures: list[Any] = client.map(work, items, pure=False)
    try:
        for future in futures:
            wait(future)  # type: ignore[no-untyped-call]
            try:
                yield future.result()
            except (KilledWorker, FutureCancelledError) as error:
                raise WorkersError(
                    f"a part of the night was lost with its workers ({type(error).__name__}): look"
                    " at why they end, most often for want of memory, and run the night again"
                ) from error
    finally:
        client.cancel(futures)  # type: ignore[no-untyped-call]


@contextmanager
def _local(processes: int, settings: Settings) -> Iterator["Client"]:
    """Start worker processes, and end them; TLS with certificates that live as long as they do.

    Whoever reaches a scheduler may run code in its workers: on loopback that is everybody on this
    machine, were it not for the certificates.
    """
    import dask  # noqa: PLC0415 - only where asked for
    from distributed import Client, LocalCluster  # noqa: PLC0415 - a second

    with (
        dask.config.set(MEMORY),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            security=True,
            local_directory=str(settings.home / "dask"),
        ) as cluster,
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        yield client


@contextmanager
def _remote(address: str) -> Iterator["Client"]:
    from distributed import Client  # noqa: PLC0415 - a second

    try:
        client = Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise WorkersError(
            f"BONDHU_DASK: no scheduler answers at {address} ({type(error).__name__}): start one"
            " with `dask scheduler`, or unset BONDHU_DASK"
        ) from error
    with client:
        yield client
