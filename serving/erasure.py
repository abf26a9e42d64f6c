"""Everything that is stored about a listener, in every store: exported, or deleted with a receipt.

The stores: tables in Postgres, keys in Redis, and the journal on this machine's disk. Models hold
sums over all listeners; the next training run starts from tables in which the deleted one is not.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa

from features.rights import delete_rows, export_tables, store_receipt
from serving.cache import Cache
from serving.journal import Journal
from serving.schemas import DeletionReceipt

REMAINS = (
    "models trained before hold sums over all listeners, in which nobody can be told apart; the"
    " next training run reads tables without these rows"
)


class Export(msgspec.Struct, kw_only=True, frozen=True):
    """All that is stored about a listener."""

    user_id: str
    exported_at: datetime
    postgres: msgspec.Raw
    redis: Mapping[str, int]
    journal: list[str]


def export(
    engine: sa.Engine, cache: Cache, journal: Journal | None, user_id: str, *, now: datetime
) -> bytes:
    """Return everything about a listener as JSON.

    Redis holds copies of what Postgres says: its keys are listed with the seconds that they have
    left.

    Raises
    ------
    sqlalchemy.exc.OperationalError, redis.RedisError
        A store is away: half of it would not be everything.
    """
    with engine.connect() as connection:
        tables = export_tables(connection, user_id)
    return msgspec.json.encode(
        Export(
            user_id=user_id,
            exported_at=now,
            postgres=msgspec.Raw(tables),
            redis=cache.keys_of(user_id),
            journal=journal.lines_of(user_id) if journal else [],
        )
    )


def erase(
    engine: sa.Engine,
    cache: Cache,
    journal: Journal | None,
    user_id: str,
    *,
    now: datetime,
    requested_by: str,
) -> DeletionReceipt:
    """Delete everything about a listener; called twice, the second finds nothing.

    Raises
    ------
    sqlalchemy.exc.OperationalError, redis.RedisError, OSError
        A store is away: there is no receipt, and calling again goes on from there.
    """
    cache.keys_of(user_id)  # Redis must be there before anything is gone
    told = journal.forget(user_id) if journal else 0
    with engine.begin() as connection:
        rows = delete_rows(connection, user_id)
    keys = cache.forget(user_id)
    deleted = {"postgres": rows, "redis": {"keys": keys}, "journal": {"feedbacks": told}}
    receipt = DeletionReceipt(
        receipt_id=uuid.uuid4(), deleted_at=now, deleted=deleted, remains=REMAINS
    )
    with engine.begin() as connection:
        store_receipt(
            connection,
            receipt.receipt_id,
            deleted,
            now=now,
            requested_by=requested_by,
        )
    return receipt
